"""COCO's 80 categories: readers of COCO expect all of them in the file, though the scenes have nine."""

from __future__ import annotations

# Ids run on from one group to the next; these were never used.
_SKIPPED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
_GROUPS = {
    "person": "person",
    "vehicle": "bicycle,car,motorcycle,airplane,bus,train,truck,boat",
    "outdoor": "traffic light,fire hydrant,stop sign,parking meter,bench",
    "animal": "bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe",
    "accessory": "backpack,umbrella,handbag,tie,suitcase",
    "sports": "frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket",
    "kitchen": "bottle,wine glass,cup,fork,knife,spoon,bowl",
    "food": "banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake",
    "furniture": "chair,couch,potted plant,bed,dining table,toilet",
    "electronic": "tv,laptop,mouse,remote,keyboard,cell phone",
    "appliance": "microwave,oven,toaster,sink,refrigerator",
    "indoor": "book,clock,vase,scissors,teddy bear,hair drier,toothbrush",
}


def coco_categories() -> list[dict[str, int | str]]:
    """``{"id", "name", "supercategory"}`` in the order of the ids."""
    ids = (i for i in range(1, 91) if i not in _SKIPPED)
    named = [(group, name) for group, names in _GROUPS.items() for name in names.split(",")]
    return [{"id": i, "name": name, "supercategory": group} for i, (group, name) in zip(ids, named, strict=True)]
