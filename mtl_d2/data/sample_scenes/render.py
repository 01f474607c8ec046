"""Cuts a scene's surfaces by the pixels' rays: one z-buffer decides image and labels alike, so they cannot disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtl_d2.data.sample_scenes.camera import Array, Camera
from mtl_d2.data.sample_scenes.classes import TRAIN_ID
from mtl_d2.data.sample_scenes.solids import Hit, Pose, Solid, View

GROUND = [TRAIN_ID[name] for name in ("road", "sidewalk", "terrain")]  # what shadows fall on


@dataclass(frozen=True, eq=False)
class SceneObject:
    """What is drawn and labelled as one thing.

    Attributes:
        solids: its surfaces, in its own frame.
        pose: where it stands.
        semantic: train id, or ``IGNORE``.
        category: its name among BDD100K's detection classes, or None where it is not to be detected.
        footprint: (K, 2) X and Z in its own frame of what stands on the ground and shadows it; None = no shadow.
        height: metres; the length of its shadow follows.
        light_color: ``G``, ``Y`` or ``R`` of a traffic light, else ``NA``.
        shape: what COCO needs to know more, ``stop`` for a stop sign.
    """

    solids: Sequence[Solid]
    pose: Pose
    semantic: int
    category: str | None = None
    footprint: Array | None = None
    height: float = 0.0
    light_color: str = "NA"
    shape: str = ""


@dataclass(frozen=True, eq=False)
class Surfaces:
    """What each pixel sees, before any light falls on it.

    Attributes:
        depth: (H, W) metres along the optical axis, 0 = sky.
        normal: (H, W, 3) unit vectors in the camera's frame that look towards the camera, 0 = sky.
        albedo: (H, W, 3) RGB in 0..1.
        emission: (H, W) how much of its albedo a surface sends out by itself.
        shade: (H, W) 0 = in the sun, 1 = in the shadow.
        semantic: (H, W) uint8, train ids, 255 = ignore.
        owner: (H, W) int32, place of the object in the scene, -1 = sky.
        amodal: (number of objects,) pixels that each would cover alone.
        cut_off: (number of objects,) whether it reaches the border of the image.
    """

    depth: Array
    normal: Array
    albedo: Array
    emission: Array
    shade: Array
    semantic: Array
    owner: Array
    amodal: Array
    cut_off: Array


def render(camera: Camera, objects: Sequence[SceneObject], sun: Array) -> Surfaces:
    """Draws the objects.

    Args:
        camera: the camera.
        objects: in any order.
        sun: (3,) world direction towards the sun, for the shadows on the ground.
    """
    shape = (camera.height, camera.width)
    out = Surfaces(
        depth=np.full(shape, np.inf, dtype=np.float32),
        normal=np.zeros((*shape, 3), dtype=np.float32),
        albedo=np.zeros((*shape, 3), dtype=np.float32),
        emission=np.zeros(shape, dtype=np.float32),
        shade=np.zeros(shape, dtype=np.float32),
        semantic=np.full(shape, TRAIN_ID["sky"], dtype=np.uint8),
        owner=np.full(shape, -1, dtype=np.int32),
        amodal=np.zeros(len(objects), dtype=np.int64),
        cut_off=np.zeros(len(objects), dtype=bool),
    )
    seen_by = np.full(shape, -1, dtype=np.int32)
    distance = [float(np.linalg.norm(o.pose.position)) for o in objects]
    for index in np.argsort(distance, kind="stable"):  # near ones first: what is hidden then needs no paint
        view = View(camera, objects[index].pose)
        for solid in objects[index].solids:
            hit = solid.cut(view)
            if hit is not None:
                _count(out, seen_by, hit, int(index))
                _draw(out, hit, solid, objects[index], int(index))
    for thing in objects:
        _cast_shadow(out, camera, thing, sun)
    out.depth[~np.isfinite(out.depth)] = 0
    return out


def _count(out: Surfaces, seen_by: Array, hit: Hit, index: int) -> None:
    covered = np.isfinite(hit.depth) & (seen_by[hit.window] != index)
    seen_by[hit.window][covered] = index
    out.amodal[index] += np.count_nonzero(covered)
    (height, width), (rows, columns) = seen_by.shape, hit.window
    on_border = [
        rows.start == 0 and covered[0].any(),
        rows.stop == height and covered[-1].any(),
        columns.start == 0 and covered[:, 0].any(),
        columns.stop == width and covered[:, -1].any(),
    ]
    out.cut_off[index] |= any(on_border)


def _draw(out: Surfaces, hit: Hit, solid: Solid, thing: SceneObject, index: int) -> None:
    nearer = hit.depth < out.depth[hit.window]
    if not nearer.any():
        return
    normal, u, v = hit.surface(nearer)
    albedo, emission = solid.paint(u, v)
    out.depth[hit.window][nearer] = hit.depth[nearer]
    out.normal[hit.window][nearer] = normal
    out.albedo[hit.window][nearer] = albedo
    out.emission[hit.window][nearer] = emission
    out.semantic[hit.window][nearer] = thing.semantic
    out.owner[hit.window][nearer] = index


def _cast_shadow(out: Surfaces, camera: Camera, thing: SceneObject, sun: Array) -> None:
    """Darkens the ground that lies between the sun and an object's upright hull, and under the object."""
    if thing.footprint is None:
        return
    base = np.insert(thing.footprint, 1, 0.0, axis=1)  # (K, 3)
    foot = thing.pose.to_world(base)
    reach = -np.array([sun[0], 0, sun[2]]) * min(0.6 * thing.height / max(float(sun[1]), 0.2), 4.0)
    for outline, strength in ((foot, 0.85), (_hull(np.concatenate([foot, foot + reach])), 0.6)):
        local = camera.to_camera(outline)
        window = camera.window(local)
        if window is None:
            continue
        flat = Pose(np.array([0.0, thing.pose.position[1], 0.0]))
        view = View(camera, flat)
        up = camera.rotation @ np.array([0.0, 1.0, 0.0])
        level = float(view.points(np.zeros((1, 3)))[0] @ up)
        depth = out.depth[window]
        slope = depth * view.along(window, up)
        east, north = camera.rotation @ np.array([1.0, 0, 0]), camera.rotation @ np.array([0, 0, 1.0])
        x, z = depth * view.along(window, east), depth * view.along(window, north)
        on_ground = (np.abs(slope - level) < 0.03) & np.isin(out.semantic[window], GROUND)
        shaded = on_ground & _inside(x, z, outline)
        out.shade[window][shaded] = np.maximum(out.shade[window][shaded], strength)


def _hull(points: Array) -> Array:
    """Convex hull (K, 3) of world points in the plane of X and Z, by Andrew's monotone chain."""
    order = sorted(map(tuple, points), key=lambda p: (p[0], p[2]))

    def chain(sequence: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
        kept: list[tuple[float, ...]] = []
        for p in sequence:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], p) <= 0:
                kept.pop()
            kept.append(p)
        return kept[:-1]

    return np.array(chain(order) + chain(order[::-1]))


def _turn(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> float:
    return (b[0] - a[0]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[0] - a[0])


def _inside(x: Array, z: Array, outline: Array) -> Array:
    following = np.roll(outline, -1, axis=0)
    area = np.sum(outline[:, 0] * following[:, 2] - outline[:, 2] * following[:, 0])
    inside = np.ones(x.shape, dtype=bool)
    for a, b in zip(outline, following, strict=True):
        dx, dz = np.sign(area) * (b[0] - a[0]), np.sign(area) * (b[2] - a[2])
        inside &= dx * (z - a[2]) >= dz * (x - a[0])
    return inside
