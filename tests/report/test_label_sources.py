"""Losses of ground truth and pseudo labels are told apart in plain words."""

from synthetic_run import rows

from mtl_d2.report.page import write_report


def titles(write_run, taught):
    logged = rows(20)
    for row in logged if taught else ():
        row["pseudo/loss_fcos_cls"] = row["loss_fcos_cls"] / 3
        row["pseudo/num_pos_anchors"] = 4.0
    return write_report(write_run(logged)).read_text(encoding="utf-8")


def test_terms_say_whose_labels_they_are_of(write_run):
    page = titles(write_run, taught=True)
    assert "loss_fcos_cls of the ground truth" in page
    assert "loss_fcos_cls of pseudo labels" in page
    assert "each times the weight of its source of labels" in page
    assert "pseudo/loss" not in page


def test_without_pseudo_labels_terms_have_their_names_alone(write_run):
    page = titles(write_run, taught=False)
    assert "loss_fcos_cls" in page
    assert "of the ground truth" not in page
