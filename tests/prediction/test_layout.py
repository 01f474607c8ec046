import numpy as np
import pytest

from mtl_d2.prediction.layout import Artist, arrange, columns_of
from mtl_d2.report.palette import Palette, _seen


@pytest.mark.parametrize(("layout", "shape"), [("grid", (2, 2)), ("right", (1, 3)), ("below", (3, 1))])
def test_pictures_stand_where_the_layout_says(layout, shape):
    shown = [np.full((4, 6, 3), level, np.uint8) for level in (10, 20, 30)]
    picture = arrange(shown, columns_of(3, layout))
    assert picture.shape == (4 * shape[0], 6 * shape[1], 3)
    levels = picture[::4, ::6, 0].ravel().tolist()
    assert levels == [10, 20, 30, 255][: shape[0] * shape[1]]


def test_pictures_show_panels_and_name_what_is_seen(network, image):
    artist = Artist(network, ["instance", "semantic", "depth", "normals"])
    picture = artist.draw(image, network(image))
    assert picture.shape == (2 * 120, 2 * 202, 3)  # doubled, in a grid whose last place has the legend
    alone = Artist(network, ["depth"], legend=False).draw(image, network(image))
    assert alone.shape == (120, 2 * 202, 3)


def test_frames_of_a_video_have_its_size_whatever_is_drawn(network, image):
    for tasks in (["semantic"], ["instance", "depth"], ["instance", "semantic", "depth", "normals"]):
        for layout in ("grid", "right", "below"):
            picture = Artist(network, tasks, layout, moving=True, beside=True).draw(image, network(image))
            assert picture.shape == image.shape


def test_colours_of_depth_are_the_same_in_all_frames_of_a_video(network, image):
    artist = Artist(network, ["depth"], moving=True)
    artist.draw(image, network(image))
    first = dict(artist._spans)
    artist.draw(image // 2, network(image // 2))
    assert artist._spans == first
    assert first


def test_safe_colours_are_told_apart_without_cones_for_red_or_green(network):
    names = [f"class {i}" for i in range(8)]
    palette = Palette([{"thing_classes": names, "thing_colors": [(9, 9, 9)] * 8}], given=False)
    colors = [palette[name] for name in names]
    for i, one in enumerate(colors):
        for other in colors[:i]:
            assert min(np.linalg.norm(np.subtract(a, b)) for a, b in zip(_seen(one), _seen(other), strict=True)) > 20


def test_a_legend_names_every_class_within_its_width(network):
    artist = Artist(network, ["instance", "semantic"])
    names = artist.all_classes()
    assert {"Mofa", "road"} <= set(names)
    legend = artist.legend_of(names, 300)
    assert legend.shape[1] == 300
    for name in names:
        assert (legend == artist.palette[name]).all(-1).sum() > 50
