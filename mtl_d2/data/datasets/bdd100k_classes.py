"""BDD100K's classes: names, ids, colours (RGB), and the other names that its releases use."""

# In the order of the BDD100K toolkit's configuration for detection.
THING_COLORS = {
    "pedestrian": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
}
# In the order of Cityscapes' train ids, which BDD100K's masks hold.
STUFF_COLORS = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
THING_CLASSES = tuple(THING_COLORS)
STUFF_CLASSES = tuple(STUFF_COLORS)
CATEGORY_ID = {name: i for i, name in enumerate(THING_CLASSES)}
# What other releases of the labels call a class, as the toolkit maps it.
OTHER_NAMES = {"person": "pedestrian", "bike": "bicycle", "motor": "motorcycle", "van": "car", "caravan": "car"}
# Classes of det_20 beyond the ten. As in the toolkit their boxes are crowd regions of the class they stand beside:
# not trained on, and detections on them are not counted as false.
CROWD_NAMES = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
