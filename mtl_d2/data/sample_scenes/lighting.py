"""Light, air and sensor: turns surfaces into an image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mtl_d2.data.sample_scenes.camera import Array, Camera
from mtl_d2.data.sample_scenes.presets import Preset
from mtl_d2.data.sample_scenes.render import Surfaces

TIMES = ("daytime", "dawn/dusk", "night")  # BDD100K's words


@dataclass(frozen=True, eq=False)
class Lighting:
    """The light of a scene.

    Attributes:
        time: BDD100K's ``timeofday``.
        weather: BDD100K's ``weather``.
        sun: (3,) world direction towards the sun.
        sunlight: (3,) RGB.
        skylight: (3,) RGB that falls from everywhere.
        zenith: (3,) RGB of the sky above.
        horizon: (3,) RGB of the sky at the horizon, and of the haze.
        haze: metres at which 63 % of the light is scattered.
        lamps: strength of the camera car's own head lamps.
        exposure: gain before the sensor.
        noise: standard deviation in 0..255.
        clouds: 0..1.
    """

    time: str
    weather: str
    sun: Array
    sunlight: Array
    skylight: Array
    zenith: Array
    horizon: Array
    haze: float
    lamps: float
    exposure: float
    noise: float
    clouds: float


def sample_lighting(preset: Preset, generator: np.random.Generator) -> Lighting:
    """Draws time, weather and sun."""
    weights = np.array(preset.times) / sum(preset.times)
    time = TIMES[int(generator.choice(3, p=weights))]
    clouds = float(generator.uniform(0, 1))
    haze = float(np.exp(generator.uniform(*np.log(preset.haze))))
    azimuth = generator.uniform(0, 2 * np.pi)
    climb = {"daytime": generator.uniform(0.6, 1.2), "dawn/dusk": generator.uniform(0.15, 0.35), "night": 1.0}[time]
    sun = np.array([np.cos(climb) * np.sin(azimuth), np.sin(climb), np.cos(climb) * np.cos(azimuth)])
    colors = {
        "daytime": ((0.85, 0.82, 0.74), (0.5, 0.53, 0.58), (0.3, 0.5, 0.85), (0.72, 0.82, 0.93)),
        "dawn/dusk": ((0.75, 0.45, 0.25), (0.3, 0.29, 0.36), (0.3, 0.34, 0.55), (0.9, 0.62, 0.45)),
        "night": ((0.03, 0.03, 0.05), (0.13, 0.12, 0.14), (0.02, 0.02, 0.05), (0.08, 0.07, 0.1)),
    }[time]
    sunlight, skylight, zenith, horizon = (np.array(c, dtype=np.float32) for c in colors)
    grey = clouds > 0.7
    if grey:  # overcast: the light loses its direction and its colour
        sunlight, skylight = sunlight * 0.25, skylight * 1.25
        zenith, horizon = (c * 0.25 + c.mean() * 0.75 for c in (zenith, horizon))
    weather = "foggy" if haze < 90 else "overcast" if grey else "partly cloudy" if clouds > 0.35 else "clear"
    night = time == "night"
    return Lighting(
        time=time,
        weather=weather,
        sun=sun,
        sunlight=sunlight,
        skylight=skylight,
        zenith=zenith,
        horizon=horizon,
        haze=haze,
        lamps=0.9 if night else 0.25 if time == "dawn/dusk" else 0.0,
        exposure=float(generator.uniform(0.85, 1.15)),
        noise=preset.noise * (1.5 if night else 1.0),
        clouds=clouds,
    )


def expose(surfaces: Surfaces, camera: Camera, light: Lighting, generator: np.random.Generator) -> Array:
    """The photograph: (H, W, 3) uint8 RGB."""
    to_sun = (camera.rotation @ light.sun).astype(np.float32)
    up = (camera.rotation @ np.array([0.0, 1.0, 0.0])).astype(np.float32)
    normal, depth = surfaces.normal, surfaces.depth[..., None]
    facing = np.maximum(_inner(normal, to_sun), 0) * (1 - surfaces.shade)
    open_sky = (0.75 + 0.25 * _inner(normal, up)) * (1 - 0.45 * surfaces.shade)
    irradiance = facing[..., None] * light.sunlight + open_sky[..., None] * light.skylight
    if light.lamps:
        towards = np.maximum(-normal[..., 2], 0.25) * np.exp(-surfaces.depth / 22.0)
        irradiance += (light.lamps * towards)[..., None] * np.array([1.0, 0.95, 0.8], dtype=np.float32)
    color = surfaces.albedo * (irradiance + surfaces.emission[..., None])
    clear = np.exp(-depth / light.haze)
    color = color * clear + light.horizon * (1 - clear)
    sky = surfaces.owner < 0
    color[sky] = _sky(camera, light, generator)[sky]
    return _sense(color * light.exposure, light, generator)


def _inner(normal: Array, direction: Array) -> Array:
    return normal[..., 0] * direction[0] + normal[..., 1] * direction[1] + normal[..., 2] * direction[2]


def _sky(camera: Camera, light: Lighting, generator: np.random.Generator) -> Array:
    xs, ys = camera.ray_grid()
    climb = np.clip(-ys[:, None] + np.float32(np.tan(-camera.pitch)) + 0 * xs, 0, 1)
    blend = np.sqrt(climb)[..., None]
    color = light.horizon * (1 - blend) + light.zenith * blend
    puffs = sum(
        cv2.resize(
            generator.random((2 * k + 2, 3 * k + 3), dtype=np.float32),
            xs.shape + ys.shape,
            interpolation=cv2.INTER_CUBIC,
        )
        / k
        for k in (1, 2, 4)
    )
    cover = np.clip((np.asarray(puffs) / 1.75 - 0.75 + 0.4 * light.clouds) * 3, 0, 0.8)[..., None]
    white = np.minimum(light.horizon * 1.15 + 0.02, 1.0)
    return color * (1 - cover) + white * cover


def _sense(color: Array, light: Lighting, generator: np.random.Generator) -> Array:
    """Lens blur of half a pixel, a gamma curve, and noise that is stronger in the dark parts' square root."""
    color = cv2.GaussianBlur(np.clip(color, 0, 1.5).astype(np.float32), (3, 3), 0.55)
    values = 255 * np.sqrt(np.clip(color, 0, 1))
    values += generator.standard_normal(color.shape, dtype=np.float32) * light.noise
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
