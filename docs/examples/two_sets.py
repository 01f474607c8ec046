"""Two data sets labelled for different classes, made of one: vehicles in one half of the images, the rest in the other.

Name this file in ``MTL.DATA.MODULES``. ``two_sets_vehicles_train`` and ``two_sets_people_train`` are the even and the
odd images of ``bdd100k_det_train`` (of the sample scenes, or of BDD100K itself), each with a list of classes of its
own, as data sets from two sources have; ``MTL.DATA.CLASSES`` puts them together. ``two_sets_naive_vehicles_train`` and
``two_sets_naive_people_train`` have the same images and objects, and claim to be labelled for all five classes.
"""

from functools import partial

from detectron2.data import DatasetCatalog, MetadataCatalog

SOURCE = "bdd100k_det_train"
ALL = ["car", "truck", "bus", "pedestrian", "traffic sign"]  # as MTL.DATA.CLASSES.THING in the configs
PARTS = {"vehicles": (0, ALL[:3]), "people": (1, ["traffic sign", "person"])}
SYNONYMS = {"person": "pedestrian"}


def load(first: int, part: list[str], names: list[str]) -> list[dict]:
    """Every second image of the source with the objects of some classes.

    Args:
        first: 0 for the even images, 1 for the odd ones.
        part: the classes that are labelled.
        names: of the class ids of the records; those of ``part`` among them.
    """
    source = DatasetCatalog.get(SOURCE)
    classes = MetadataCatalog.get(SOURCE).thing_classes
    labelled = [SYNONYMS.get(name, name) for name in part]
    ids = {classes.index(name): i for i, name in enumerate(names) if name in labelled}
    ids |= {classes.index(SYNONYMS[name]): i for i, name in enumerate(names) if name in SYNONYMS}
    return [
        {
            **record,
            "annotations": [
                {**one, "category_id": ids[one["category_id"]]}
                for one in record["annotations"]
                if one["category_id"] in ids
            ],
        }
        for record in sorted(source, key=lambda record: record["file_name"])[first::2]
    ]


for name, (first, part) in PARTS.items():
    DatasetCatalog.register(f"two_sets_{name}_train", partial(load, first, part, part))
    MetadataCatalog.get(f"two_sets_{name}_train").set(
        thing_classes=part, class_synonyms=SYNONYMS, evaluator_type="coco"
    )
    DatasetCatalog.register(f"two_sets_naive_{name}_train", partial(load, first, part, ALL))
    MetadataCatalog.get(f"two_sets_naive_{name}_train").set(thing_classes=ALL, evaluator_type="coco")
