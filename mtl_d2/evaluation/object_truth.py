"""The objects of a test set as pycocotools takes them: a clean copy of its records, in memory."""

from __future__ import annotations

import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import log_first_n
from pycocotools.coco import COCO
from pycocotools.cocoeval import Params

from mtl_d2.data.annotations import OUTSIDE, Cleaned, Records, clean_annotations, image_key
from mtl_d2.data.class_mapping import mapping_of
from mtl_d2.data.errors import DataError
from mtl_d2.data.image_size import image_size
from mtl_d2.data.objects import has_masks
from mtl_d2.data.reading import read_records
from mtl_d2.evaluation.areas import PublishedAreas, area_of, is_area
from mtl_d2.evaluation.class_names import told_apart
from mtl_d2.evaluation.class_subsets import thing_subset
from mtl_d2.evaluation.object_masks import with_pixels

Annotations = list[dict[str, Any]]
ByImage = dict[int | str, frozenset[Any]]  # ids of categories

LARGEST = 1e10  # square pixels; pycocotools leaves larger objects out


@dataclass
class ObjectTruth:
    """Ground truth of one test set.

    Attributes:
        name: of the test set.
        image_ids: by ``image_key``, what pycocotools calls the images; those without ``annotations`` have one too.
        category_ids: by class, what the data set's file calls it.
        classes: names in the order of ``category_ids``.
        images: COCO's, of the records that have ``annotations``.
        annotations: COCO's; ``segmentation`` only where there is a mask and masks are evaluated.
        with_masks: ids of images all of whose objects have a mask.
        published: whether the data set's file has annotations; those of some test sets are kept back.
        left_out: by id of an image, the categories of which nothing counts there; only where there are any.
        not_exhaustive: the like, those of which it may show more than is annotated.
        notes: what was left out or mended, a line each.
    """

    name: str
    image_ids: dict[Hashable, int | str]
    category_ids: list[Any]
    classes: list[str]
    images: list[dict[str, Any]]
    annotations: Annotations
    with_masks: set[int | str]
    published: bool
    left_out: ByImage = field(default_factory=dict)
    not_exhaustive: ByImage = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def api(self, kind: str, only: Collection[int | str] | None = None) -> COCO:
        """What predictions are compared with.

        Args:
            kind: ``bbox``, or ``segm`` for the images and objects that have masks.
            only: the ids of the images that count; None = all.
        """
        images = {i["id"]: i for i in self._images(kind) if only is None or i["id"] in only}
        annotations = [{**a} for a in self.annotations if a["image_id"] in images]
        if kind == "segm":
            listed = len(annotations)
            annotations = with_pixels(annotations, images)
            if only is None and len(annotations) < listed:
                left_out = listed - len(annotations)
                say_once(f"{self.name}: {left_out} objects are left out of mask AP: no pixel of their mask is inside")
        for number, annotation in enumerate(annotations, 1):  # to pycocotools number 0 is no match
            annotation["id"] = number
        categories = [{"id": i, "name": name} for i, name in zip(sorted(self.category_ids), self.classes, strict=True)]
        content = {"images": list(images.values()), "categories": categories, "annotations": annotations}
        return coco_api({"info": {}, **content})

    def undefined(self, kind: str) -> list[str]:
        """What there is no object of, and therefore no AP: a class, or a size that pycocotools tells apart."""
        images = {image["id"] for image in self._images(kind)}
        shown = [a for a in self.annotations if a["image_id"] in images and not a["iscrowd"]]
        if not shown:
            return ["of any kind"]
        everywhere = frozenset.intersection(*(self.left_out.get(i, frozenset()) for i in images))
        classes = {a["category_id"] for a in shown} | everywhere  # of what no image is annotated for more is said
        names = zip(sorted(self.category_ids), self.classes, strict=True)
        ranges = Params(iouType=kind)
        sizes = zip(ranges.areaRng, ranges.areaRngLbl, strict=True)
        return [
            *(f"of class {name}" for category_id, name in names if category_id not in classes),
            *(f"of size {size}" for (low, high), size in sizes if not any(low <= a["area"] <= high for a in shown)),
        ]

    def _images(self, kind: str) -> list[dict[str, Any]]:
        return self.images if kind == "bbox" else [image for image in self.images if image["id"] in self.with_masks]


def object_truth(name: str, kinds: Sequence[str]) -> ObjectTruth:
    """Reads a test set and cleans it by the rules that training has; what is left out is said.

    The records say which images and objects there are. The data set's ``json_file`` lends the areas that they lack,
    as objects count as small, medium or large by them.

    Raises:
        DataError: one line for each mistake that keeps it from being evaluated.
    """
    records = read_records(name)
    metadata = MetadataCatalog.get(name)  # some readers find the classes only now
    cleaned = clean_annotations(records, "segm" in kinds, "bitmask")
    classes = metadata.get("thing_classes")
    _refuse(name, cleaned, classes)
    labelled = [record for record in cleaned.records if "annotations" in record]
    image_ids = _image_ids(name, cleaned.records)
    category_ids = _category_ids(metadata, len(classes))
    file = _read_file(metadata.get("json_file"))
    subset = thing_subset(name, labelled)
    labelled = subset.counted(labelled)
    masks, published = "segm" in kinds, file.get("annotations", ())
    areas = PublishedAreas(published, by_class=mapping_of(name) is None)
    truth = ObjectTruth(
        name=name,
        image_ids=image_ids,
        category_ids=category_ids,
        classes=[told_apart(classes)[k] for k in np.argsort(category_ids)],
        images=[_image(name, record, image_ids[image_key(record)], masks) for record in labelled],
        annotations=list(_annotations(labelled, image_ids, category_ids, areas, masks)),
        with_masks={image_ids[image_key(r)] for r in labelled if has_masks(r)},
        published=not file or "annotations" in file or any(record["annotations"] for record in labelled),
    )
    truth.notes = [f"{name}: {line}" for line in (*_other_than_file(name, records, published), *_changes(cleaned))]
    truth.notes += [f"{name}: {line}" for line in _left_out(truth, kinds)]
    truth.notes += [f"{name}: {line}" for line in subset.lines(classes)]
    truth.left_out = _by_image(labelled, truth, subset.left_out)
    truth.not_exhaustive = _by_image(labelled, truth, subset.not_exhaustive)
    for line in (*truth.notes, *_undefined(truth, kinds)):
        say_once(line)
    return truth


def _by_image(records: Records, truth: ObjectTruth, classes: Callable[[int], frozenset[int]]) -> ByImage:
    """Ids of categories by that of an image, given classes by the number of a record."""
    named = ((truth.image_ids[image_key(record)], classes(number)) for number, record in enumerate(records))
    return {image_id: frozenset(truth.category_ids[k] for k in ids) for image_id, ids in named if ids}


def coco_api(dataset: dict[str, Any]) -> COCO:
    """Pycocotools' index of a data set in memory."""
    api = COCO()
    api.dataset = dataset
    with redirect_stdout(io.StringIO()):
        api.createIndex()
    return api


def say_once(line: str) -> None:
    """Warns, but not at every evaluation anew; what a rehearsal keeps quiet is not said yet."""
    if logging.getLogger(__name__).isEnabledFor(logging.WARNING):
        log_first_n(logging.WARNING, line, name=__name__, key="message")


def _other_than_file(name: str, records: Records, published: Annotations) -> Iterator[str]:
    """Objects that a data set's reader leaves out, or adds."""
    objects = {image_key(r): len(r["annotations"] or ()) for r in records if "annotations" in r}
    in_file, given = sum(a.get("image_id") in objects for a in published), sum(objects.values())
    if published and in_file != given and mapping_of(name) is None:
        yield f"its json_file has {in_file} annotations of these images, its reader gives {given}: these are evaluated"


def _changes(cleaned: Cleaned) -> Iterator[str]:
    """What was dropped or mended."""
    for what, line in zip(cleaned.changes, cleaned.lines(cleaned.changes), strict=True):
        if what == OUTSIDE:  # the official tool cuts nothing off
            number = cleaned.changes[what]
            yield f"{number} boxes reach outside their image: the whole of them is evaluated{cleaned.doubt}"
        else:
            yield line


def _left_out(truth: ObjectTruth, kinds: Sequence[str]) -> Iterator[str]:
    """What is not evaluated."""
    images, labelled = len(truth.image_ids), len(truth.images)
    if labelled < images:
        yield f"{images - labelled} of {images} images have no `annotations`: objects are not evaluated on them"
    if "segm" in kinds and len(truth.with_masks) < labelled:
        bare = labelled - len(truth.with_masks)
        yield f"{bare} of {labelled} images are left out of mask AP: they have an object without a mask"


def _undefined(truth: ObjectTruth, kinds: Sequence[str]) -> Iterator[str]:
    """What is evaluated as nan."""
    for kind in kinds if truth.published else ():
        undefined = truth.undefined(kind)
        if undefined:
            yield f"{truth.name}: no image shows an object {' or '.join(undefined)}: {kind} AP of it is nan"


def _refuse(name: str, cleaned: Cleaned, classes: Sequence[str] | None) -> None:
    lines = cleaned.lines(cleaned.refused)
    if classes is None:
        lines.append("its metadata have no `thing_classes`: register them with MetadataCatalog")
    else:
        ids = {a["category_id"] for r in cleaned.records for a in r.get("annotations", ())}
        wrong = sorted(ids - set(range(len(classes))))
        if wrong:
            lines.append(f"`category_id` must be in 0..{len(classes) - 1}, found {wrong}: correct its reader")
    if lines:
        raise DataError("\n".join(f"{name}: {line}" for line in lines))


def _image_ids(name: str, records: Records) -> dict[Hashable, int | str]:
    """The data set's own ids where pycocotools, which sorts them with numpy, can tell them apart; else numbers."""
    keys = [image_key(record) for record in records]
    ids: list[int | str]
    if all(isinstance(k, Integral) and abs(int(k)) < 2**63 for k in keys):
        ids = [int(k) for k in keys]  # type: ignore[call-overload]
    elif all(isinstance(k, str) for k in keys):
        ids = [str(k) for k in keys]
    else:
        ids = list(range(1, len(keys) + 1))
    image_ids = dict(zip(keys, ids, strict=True))
    if len(image_ids) < len(keys):
        twice = Counter(keys).most_common(1)[0][0]
        raise DataError(
            f"{name}: {len(keys) - len(image_ids)} of {len(keys)} images have the `image_id` of another, the first is "
            f"{twice!r}: give each its own"
        )
    return image_ids


def _category_ids(metadata: Any, count: int) -> list[Any]:
    """By class, its id in the data set's file; the class itself where not each has one, or where they have no order."""
    given = (metadata.get("thing_dataset_id_to_contiguous_id") or {}).items()
    ids = {k: i.item() if isinstance(i, np.generic) else i for i, k in given}  # JSON knows no numbers of numpy
    ordered = all(isinstance(i, Real) for i in ids.values()) or all(isinstance(i, str) for i in ids.values())
    return [ids[k] for k in range(count)] if ordered and ids.keys() == set(range(count)) else list(range(count))


def _image(name: str, record: dict[str, Any], image_id: int | str, sized: bool) -> dict[str, Any]:
    image = {"id": image_id, "file_name": record["file_name"]}
    size = (record["width"], record["height"]) if "width" in record else None
    if size is None and sized:  # masks need it
        size = image_size(record)
        if size is None:
            raise DataError(
                f"{name}: {record['file_name']} cannot be opened, and its record does not say its size: correct it"
            )
    return image if size is None else {**image, "width": size[0], "height": size[1]}


def _annotations(
    records: Records,
    image_ids: dict[Hashable, int | str],
    category_ids: list[Any],
    areas: PublishedAreas,
    masks: bool,
) -> Iterator[dict[str, Any]]:
    for record in records:
        image_id = image_ids[image_key(record)]
        most = min(record.get("width", LARGEST) * record.get("height", 1), LARGEST)
        for given in record["annotations"]:
            x, y, width, height = given["bbox"]
            if given["bbox_mode"] == BoxMode.XYXY_ABS:
                width, height = width - x, height - y
            annotation = {
                "image_id": image_id,
                "category_id": category_ids[given["category_id"]],
                "bbox": [x, y, width, height],
                "iscrowd": int(given.get("iscrowd", 0)),
            }
            if masks and "segmentation" in given:
                annotation["segmentation"] = given["segmentation"]
            known = areas.take(image_key(record), annotation["category_id"], annotation["bbox"])
            area = next((a for a in (given.get("area"), known) if is_area(a)), None)
            annotation["area"] = min(area_of(given, width * height), most) if area is None else area
            yield annotation


def _read_file(path: str | None) -> dict[str, Any]:
    """What a data set's ``json_file`` holds, if it is one of COCO's form that is there; else nothing."""
    if path is None or not PathManager.isfile(path):
        return {}
    try:
        content = json.loads(Path(PathManager.get_local_path(path)).read_bytes())
    except ValueError:  # the records came from elsewhere
        return {}
    return content if isinstance(content, dict) else {}
