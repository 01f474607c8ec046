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
# Instance masks know the first eight; their ids in bitmasks begin with 1.
INSTANCE_CLASSES = THING_CLASSES[:8]
# What driving networks such as YOLOP and HybridNets detect, as one class.
VEHICLES = ("car", "truck", "bus", "train")

# Of pixels on the 100k images, in the order of the toolkit's ids; what is neither is the last class.
BACKGROUND = "background"
DRIVABLE_COLORS = {"direct": (219, 94, 86), "alternative": (86, 211, 219), BACKGROUND: (0, 0, 0)}
LANE_CATEGORY_COLORS = {
    "crosswalk": (219, 94, 86),
    "double other": (219, 194, 86),
    "double white": (145, 219, 86),
    "double yellow": (86, 219, 127),
    "road curb": (86, 211, 219),
    "single other": (86, 111, 219),
    "single white": (160, 86, 219),
    "single yellow": (219, 86, 178),
    BACKGROUND: (0, 0, 0),
}
LANE_COLORS = {"lane": (219, 94, 86), BACKGROUND: (0, 0, 0)}
LANE_DIRECTION_COLORS = {"parallel": (145, 219, 86), "vertical": (86, 111, 219), BACKGROUND: (0, 0, 0)}
LANE_STYLE_COLORS = {"solid": (219, 94, 86), "dashed": (86, 211, 219), BACKGROUND: (0, 0, 0)}
