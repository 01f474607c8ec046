"""Runs a network that tools/export.py wrote as ONNX; needs onnxruntime, NumPy and OpenCV alone, not mtl_d2 or torch.

python run_onnx.py NETWORK.onnx IMAGE ... --output FOLDER [--score 0.3]

For each image it writes IMAGE_results.png, with everything drawn, and IMAGE_results.npz, at the size of the image:
boxes (M, 4), scores (M,), classes (M,) and masks (M, H, W) of objects, class ids (H, W), depth (H, W), normals
(3, H, W); of a classification the probabilities of the classes.
"""

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime


class Network:
    """An exported network; `about` is what the file says of itself."""

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001  # its errors have no base of their own
            raise SystemExit(f"error: {path} is no network that onnxruntime can run: {error}") from None
        said = self.session.get_modelmeta().custom_metadata_map.get("mtl_d2")
        if said is None:
            raise SystemExit(f"error: {path} was not written by tools/export.py: it does not say what its outputs are")
        self.about = json.loads(said)
        self.names = [output.name for output in self.session.get_outputs()]

    def __call__(self, image, score=0.0):
        """The results for an image (H, W, 3) BGR uint8, as cv2.imread gives it: by task, a dict of arrays."""
        height, width = image.shape[:2]
        seen = network_image(image, self.about["image"])
        feed = {"image": seen.astype(np.float32)}  # pixels as they are; the graph has mean and deviation
        if self.about["size"]:
            feed["size"] = np.array([height, width], np.int64)
        outputs = dict(zip(self.names, self.session.run(self.names, feed), strict=True))
        results = {}
        for task in self.about["tasks"]:
            fields = {name.rpartition("/")[2]: outputs[name] for name in task["outputs"]}
            if "boxes" in fields:
                grid = (height, width) if self.about["size"] else seen.shape[1:]
                results[task["task"]] = objects(fields, grid, (height, width), score)
            else:
                (values,) = (outputs[name] for name in task["outputs"])
                results[task["task"]] = one_result(values, task, (height, width))
        return results


def network_image(image, about):
    """(C, h, w) uint8, resized as the network's test images were, in its order of channels."""
    if about["channels"] == "L":
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
    elif about["channels"] == "RGB":
        image = image[..., ::-1]
    height, width = image.shape[:2]
    if about["shape"]:
        new = tuple(about["shape"][1:])
    elif "height" in about["resize"]:
        new = about["resize"]["height"], about["resize"]["width"]
    else:
        shortest, longest = about["resize"]["shortest"], about["resize"]["longest"]
        scale = min(shortest / min(height, width), longest / max(height, width)) if shortest else 1
        new = int(height * scale + 0.5), int(width * scale + 0.5)
    return resized(image, new).transpose(2, 0, 1)


def resized(image, size):
    """Bilinear, of all pixels that a smaller image's pixel covers, as Pillow does it (OpenCV's skips pixels)."""
    across, down = triangles(image.shape[1], size[1]), triangles(image.shape[0], size[0])
    rows = np.clip(np.rint(across @ image.astype(np.float32)), 0, 255)  # (H, w, C)
    return np.clip(np.rint(np.tensordot(down, rows, 1)), 0, 255).astype(np.uint8)


def triangles(before, after):
    """(after, before) the weights of each old pixel in each new one, along one side."""
    scale = before / after
    reach = max(scale, 1.0)
    centre = (np.arange(after) + 0.5) * scale
    weights = 1 - np.abs(np.arange(before) + 0.5 - centre[:, None]) / reach
    weights = np.maximum(weights, 0)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def objects(fields, grid, size, score):
    """Boxes in pixels of the image of `size`, out of those of an image of `grid`, and masks (M, H, W) if there are."""
    fields = {name: values[fields["scores"] >= score] for name, values in fields.items()}
    fields["boxes"] = fields["boxes"] * np.float32([size[1] / grid[1], size[0] / grid[0]] * 2)
    if "masks" in fields:
        pasted = [paste(mask, box, size) for mask, box in zip(fields["masks"], fields["boxes"], strict=True)]
        fields["masks"] = np.array(pasted, bool).reshape(-1, *size)
    return fields


def paste(mask, box, size):
    """(H, W) bool, where a mask (S, S) of probabilities in a box is at least a half, bilinear, as detectron2 has it."""
    down, across = (
        np.maximum(0, 1 - np.abs(((np.arange(n) + 0.5 - low) / (high - low) * len(mask) - 0.5)[:, None] - places))
        for n, low, high, places in (
            (size[0], box[1], box[3], np.arange(len(mask))),
            (size[1], box[0], box[2], np.arange(len(mask))),
        )
    )
    return down @ mask @ across.T >= 0.5


def one_result(values, task, size):
    """Of a classification its class; of a map the map at `size`, as ids of classes where it has classes."""
    if values.ndim == 1:
        return {"probabilities": values, "class": np.array(values.argmax())}
    if values.dtype == np.uint8:
        return {"ids": cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST)}
    planes = values.reshape(-1, *values.shape[-2:])
    if planes.shape[1:] != size:  # OpenCV takes few channels at a time
        planes = np.stack([cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR) for plane in planes])
    if task["classes"]:
        return {"ids": planes.argmax(0).astype(np.uint8)}
    return {"values": planes.reshape(*values.shape[:-2], *size)}


def drawn(image, results, about):
    """The image with objects and classes on it, beside it a picture for each other map."""
    picture, beside = image.copy(), []
    for task in about["tasks"]:
        result = results[task["task"]]
        if "ids" in result:
            picture = cv2.addWeighted(picture, 0.5, colours(len(task["classes"]))[result["ids"]], 0.5, 0)
        elif "values" in result and result["values"].ndim == 2:
            beside.append(depth_picture(result["values"]))
        elif "values" in result:  # normals, each component from -1 to 1
            beside.append(np.uint8(np.clip(result["values"].transpose(1, 2, 0)[..., ::-1] * 127.5 + 127.5, 0, 255)))
    for task in about["tasks"]:
        result = results[task["task"]]
        if "boxes" in result:
            draw_objects(picture, result, task["classes"])
        elif "class" in result:
            names = task["classes"] or range(len(result["probabilities"]))
            sys.stdout.write(f"  {task['task']}: {names[int(result['class'])]}, {result['probabilities'].max():.2f}\n")
    return np.concatenate([picture, *beside], axis=1)


def draw_objects(picture, result, names):
    """Masks, boxes and names, the surest on top."""
    palette = colours(max(1, len(names)))
    for k in reversed(range(len(result["boxes"]))):
        number = int(result["classes"][k])
        colour = tuple(map(int, palette[number]))
        if "masks" in result:
            inside = result["masks"][k]
            picture[inside] = picture[inside] // 2 + palette[number] // 2
        x0, y0, x1, y1 = map(int, result["boxes"][k])
        cv2.rectangle(picture, (x0, y0), (x1, y1), colour, 2)
        label = f"{names[number] if names else number} {result['scores'][k]:.2f}"
        cv2.putText(
            picture, label, (x0, max(12, y0 - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA
        )


def depth_picture(depth):
    """Near is bright."""
    low, high = np.percentile(depth, [2, 98])
    near = np.clip((high - depth) / max(high - low, 1e-6), 0, 1)
    return cv2.applyColorMap(np.uint8(near * 255), cv2.COLORMAP_INFERNO)


def colours(count):
    """(count, 3) BGR, of all hues."""
    hues = np.array([[[k * 180 * 0.618 % 180, 200, 230] for k in range(count)]], np.uint8)
    return cv2.cvtColor(hues, cv2.COLOR_HSV2BGR)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--score", type=float, default=0.3, help="objects of a lower score are left out (0.3)")
    args = parser.parse_args()
    network = Network(args.network)
    args.output.mkdir(parents=True, exist_ok=True)
    for path in args.images:
        image = cv2.imread(str(path))
        if image is None:
            sys.exit(f"error: {path} is no image that OpenCV can read")
        results = network(image, args.score)
        counts = [f"{len(r['boxes'])} objects" for r in results.values() if "boxes" in r]
        sys.stdout.write(f"{path}: {', '.join([*counts, *results])}\n")
        arrays = {f"{task}/{name}": array for task, result in results.items() for name, array in result.items()}
        np.savez_compressed(args.output / f"{path.stem}_results.npz", **arrays)
        cv2.imwrite(str(args.output / f"{path.stem}_results.png"), drawn(image, results, network.about))


if __name__ == "__main__":
    main()
