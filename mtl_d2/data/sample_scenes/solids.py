"""The three surfaces everything is built of: planar faces, ellipsoids and open cylinders, each cut by the pixels' rays.

A ray is (x/z, y/z, 1) times the depth z, so the parameter of every cut is the depth itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from mtl_d2.data.sample_scenes.camera import NEAR, Array, Camera

# (u, v) in metres on the surface, each (N,), to albedo (N, 3) or (3,) in 0..1 and emission (N,) or a number >= 0.
Paint = Callable[[Array, Array], tuple[Array, "Array | float"]]


class Pose(NamedTuple):
    """Where an object stands: its own axes are X right, Y up, Z ahead, metres.

    Attributes:
        position: (3,) world coordinates of the object's origin.
        heading: radians; 0 looks along the road, positive turns right.
    """

    position: Array
    heading: float = 0.0

    @property
    def rotation(self) -> Array:
        """(3, 3), object to world."""
        s, c = np.sin(self.heading), np.cos(self.heading)
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])

    def to_world(self, points: Array) -> Array:
        """(N, 3) object to (N, 3) world coordinates."""
        return np.asarray(points, dtype=np.float64) @ self.rotation.T + self.position


class View:
    """A camera's rays and a pose, ready to cut surfaces."""

    def __init__(self, camera: Camera, pose: Pose) -> None:
        self.camera = camera
        self._pose = pose
        self._xs, self._ys = camera.ray_grid()
        self.axes = camera.rotation @ pose.rotation  # columns: the object's axes in the camera's frame

    def points(self, points: Array) -> Array:
        """(N, 3) object to (N, 3) camera coordinates."""
        return self.camera.to_camera(self._pose.to_world(points))

    def along(self, window: tuple[slice, slice], direction: Array) -> Array:
        """Inner product of each ray (x/z, y/z, 1) in the window with a direction (3,): (h, w), float32."""
        x, y, z = (np.float32(d) for d in direction)
        # Written out instead of a matrix product, whose rounding depends on the size of the window.
        return self._xs[None, window[1]] * x + (self._ys[window[0], None] * y + z)


class Hit(NamedTuple):
    """Where rays cut a surface.

    Attributes:
        window: rows and columns of the image that ``depth`` covers.
        depth: (h, w) metres along the optical axis, inf where the ray misses.
        surface: maps a mask (h, w) to unit normals (N, 3) or (3,) in the camera's frame, and u, v (N,) in metres.
    """

    window: tuple[slice, slice]
    depth: Array
    surface: Callable[[Array], tuple[Array, Array, Array]]


class Solid(Protocol):
    """A painted surface that rays can cut."""

    @property
    def paint(self) -> Paint:
        """Albedo and emission of the surface."""

    def cut(self, view: View) -> Hit | None:
        """Cuts the rays of a view; None where the surface is out of view."""


@dataclass(frozen=True, eq=False)
class Face:
    """A convex planar polygon.

    Attributes:
        corners: (K, 3) in order; u runs from corner 0 to corner 1, v from corner 0 towards the last one.
        paint: see ``Paint``.
        inside: (3,) a point behind the face, which is then seen from the other side only; None = seen from both.
        cutout: maps u, v to a mask of what is there; None = all of it.
    """

    corners: Array
    paint: Paint
    inside: Array | None = None
    cutout: Callable[[Array, Array], Array] | None = None

    def cut(self, view: View) -> Hit | None:
        """Cuts the rays of a view with the plane and keeps what is inside the polygon."""
        points = view.points(self.corners)
        window = view.camera.window(points)
        if window is None:
            return None
        origin = points[0]
        u_axis = points[1] - origin
        u_axis = u_axis / np.linalg.norm(u_axis)
        v_axis = points[-1] - origin
        v_axis = v_axis - u_axis * (v_axis @ u_axis)
        v_axis = v_axis / np.linalg.norm(v_axis)
        normal = np.cross(u_axis, v_axis)
        distance = float(normal @ origin)
        if distance > 0:  # the normal looks away from the camera
            normal, distance = -normal, -distance
        if distance > -1e-6 or (self.inside is not None and self._seen_from_behind(view, normal, origin)):
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = np.float32(distance) / view.along(window, normal)
        depth[~(depth > NEAR)] = np.inf
        finite = np.where(np.isfinite(depth), depth, 0)
        u = finite * view.along(window, u_axis) - np.float32(origin @ u_axis)
        v = finite * view.along(window, v_axis) - np.float32(origin @ v_axis)
        depth[~self._contains(u, v, (points - origin) @ np.stack([u_axis, v_axis], 1))] = np.inf
        return Hit(window, depth, lambda mask: (normal, u[mask], v[mask]))

    def _seen_from_behind(self, view: View, normal: Array, origin: Array) -> bool:
        assert self.inside is not None
        return bool(normal @ (view.points(self.inside[None])[0] - origin) > 0)

    def _contains(self, u: Array, v: Array, outline: Array) -> Array:
        following = np.roll(outline, -1, axis=0)
        area = np.sum(outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0])
        inside = np.ones(u.shape, dtype=bool)
        for (u0, v0), (u1, v1) in zip(outline, following, strict=True):
            du, dv = np.float32(np.sign(area) * (u1 - u0)), np.float32(np.sign(area) * (v1 - v0))
            inside &= du * (v - np.float32(v0)) >= dv * (u - np.float32(u0))
        if self.cutout is not None:
            inside &= self.cutout(u, v)
        return inside


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """An ellipsoid along the object's axes.

    Attributes:
        center: (3,) in the object's frame.
        radii: (3,) metres.
        paint: see ``Paint``; u, v are the offsets from the center along the object's Z + X and Y.
    """

    center: Array
    radii: Array
    paint: Paint

    def cut(self, view: View) -> Hit | None:
        """Cuts the rays of a view with the front of the ellipsoid."""
        corners = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T * self.radii + self.center
        window = view.camera.window(view.points(corners))
        if window is None:
            return None
        center = view.points(np.asarray(self.center)[None])[0]
        scaled = view.axes / self.radii  # (3, 3): columns are the axes over their radii
        rays = [view.along(window, scaled[:, k]) for k in range(3)]
        start = (center @ scaled).astype(np.float32)
        a = rays[0] ** 2 + rays[1] ** 2 + rays[2] ** 2
        b = rays[0] * start[0] + rays[1] * start[1] + rays[2] * start[2]
        inner = b * b - a * (np.float32(start @ start) - 1)
        depth = np.where(inner > 0, (b - np.sqrt(np.maximum(inner, 0))) / a, np.inf).astype(np.float32)
        depth[~(depth > NEAR)] = np.inf

        def surface(mask: Array) -> tuple[Array, Array, Array]:
            unit = np.stack([depth[mask] * r[mask] for r in rays], 1) - start  # (N, 3) on the unit sphere
            normal = unit @ scaled.T.astype(np.float32)
            normal /= np.linalg.norm(normal, axis=1, keepdims=True)
            return normal, unit[:, 0] * self.radii[0] + unit[:, 2] * self.radii[2], unit[:, 1] * self.radii[1]

        return Hit(window, depth, surface)


@dataclass(frozen=True, eq=False)
class Cylinder:
    """An open circular cylinder along one of the object's axes.

    Attributes:
        center: (3,) in the object's frame.
        radius: metres.
        length: metres, along ``axis``.
        axis: 0, 1 or 2 for the object's X, Y or Z.
        paint: see ``Paint``; u runs around, v along the axis from its middle.
    """

    center: Array
    radius: float
    length: float
    axis: int
    paint: Paint

    def cut(self, view: View) -> Hit | None:
        """Cuts the rays of a view with the front of the cylinder."""
        half = np.full(3, self.radius)
        half[self.axis] = self.length / 2
        corners = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T * half + self.center
        window = view.camera.window(view.points(corners))
        if window is None:
            return None
        center = view.points(np.asarray(self.center)[None])[0]
        first, second, axle = (view.axes[:, (self.axis + k) % 3] for k in (1, 2, 0))
        p, q = view.along(window, first), view.along(window, second)
        p0, q0 = np.float32(center @ first), np.float32(center @ second)
        a, b = p * p + q * q, p * p0 + q * q0
        inner = b * b - a * (p0 * p0 + q0 * q0 - np.float32(self.radius**2))
        depth = np.where((inner > 0) & (a > 0), (b - np.sqrt(np.maximum(inner, 0))) / np.maximum(a, 1e-12), np.inf)
        depth = depth.astype(np.float32)
        finite = np.where(np.isfinite(depth), depth, 0)
        v = finite * view.along(window, axle) - np.float32(center @ axle)
        depth[~((depth > NEAR) & (np.abs(v) <= self.length / 2))] = np.inf

        def surface(mask: Array) -> tuple[Array, Array, Array]:
            x, y = depth[mask] * p[mask] - p0, depth[mask] * q[mask] - q0
            normal = (x[:, None] * first + y[:, None] * second) / self.radius
            normal /= np.linalg.norm(normal, axis=1, keepdims=True)
            return normal, np.arctan2(y, x) * self.radius, v[mask]

        return Hit(window, depth, surface)
