"""The plants: cooling units under feedback control, in weather, with faults that act on their physics.

Temperatures in degrees Celsius, times in hours, positions and commands from 0 to 1. All units of all plants are stepped
together, explicit Euler with :data:`STEP_S`. For one unit, with zone temperature ``z``, supply temperature ``s``, valve
``v``, heater ``h``, effectiveness ``e`` and outdoor temperature ``o``::

    dz/dt = (o - z) / TAU_ZONE + GAIN * occupancy + HEAT * h - COOL * e * v * (z - s)
    ds/dt = (supply setpoint + RISE * v - s) / TAU_SUPPLY
    dv/dt = (command - v) / TAU_VALVE
    return temperature = s + e * (z - s) * (0.35 + 0.65 v)
    power = e * v * (z - s) / COP + heater power

A PI controller commands the valve from the MEASURED zone temperature, so that a drifting sensor misleads it, as it
does in life.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np

from rarefault.runtime.arrays import Float64
from rarefault.train.simulate.config import SimulationConfig
from rarefault.train.simulate.schedule import Schedule

STEP_S = 300
TAU_ZONE, TAU_SUPPLY, TAU_VALVE = 9.0, 0.4, 0.1  # hours
GAIN, HEAT, COOL = 1.1, 5.0, 0.75  # K/h at full occupancy, K/h at full heat, 1/h
RISE = 1.5  # K by which a wide open valve warms the supply
COP = 3.2
EFFECTIVENESS = 0.8
PROPORTIONAL, INTEGRAL = 0.45, 0.25  # of the valve's controller: 1/K, 1/(K h)


@dataclass(frozen=True)
class Traces:
    """What the sensors of all units would read at every step, [steps, units] (unit = plant * components + component).

    Attributes:
        sensors: zone, supply and return temperature, valve position, [4, steps, units].
        controls: zone setpoint, supply setpoint, valve command, heater command, [4, steps, units].
        power: of each unit, kW.
    """

    sensors: Float64
    controls: Float64
    power: Float64


def weather(config: SimulationConfig, rng: np.random.Generator) -> Float64:
    """Outdoor temperature of each plant, [steps, plants]: season, time of day, and slow random weather."""
    steps = config.days * 86_400 // STEP_S
    day = np.arange(steps) * STEP_S / 86_400
    season = 6 * np.sin(2 * np.pi * (day / 365 - 0.25 + rng.uniform(0, 1, (config.plants, 1))))
    time_of_day = 5 * np.sin(2 * np.pi * (day - 9 / 24))
    fronts = rng.normal(0, 1, (config.plants, steps))
    keep = np.exp(-STEP_S / (2 * 86_400))  # weather lasts two days
    spread = 3.0 * np.sqrt(1 - keep**2)
    slow = np.zeros((config.plants, steps))
    for t in range(1, steps):
        slow[:, t] = keep * slow[:, t - 1] + spread * fronts[:, t]
    outdoor: Float64 = 28 + season + time_of_day + slow
    return outdoor.T


def severities(config: SimulationConfig, schedule: Schedule, rng: np.random.Generator) -> Float64:
    """How strongly each fault acts on each unit, from 0 to 1, [7, steps, units]; row 0 is unused.

    Drift and fouling come up over an hour, the others at once.
    """
    steps = config.days * 86_400 // STEP_S
    out = np.zeros((7, steps, config.plants * config.components))
    for plant, component, start_s, end_s, fault in zip(
        schedule.plant, schedule.component, schedule.start_s, schedule.end_s, schedule.fault, strict=True
    ):
        a, b = int(start_s) // STEP_S, min(int(end_s) // STEP_S + 1, steps)
        rise_s = 3600 if fault in {2, 3} else STEP_S
        shape = np.minimum(1.0, (np.arange(b - a) + 1) * STEP_S / rise_s) * rng.uniform(0.75, 1.0)
        unit = plant * config.components + component
        out[fault, a:b, unit] = np.maximum(out[fault, a:b, unit], shape)
    return out


def run_plants(config: SimulationConfig, outdoor: Float64, severity: Float64, rng: np.random.Generator) -> Traces:
    """Step all units through time.

    Args:
        config: number and size of the plants.
        outdoor: of each plant, [steps, plants].
        severity: of each fault, [7, steps, units].
        rng: of the units' individual traits.
    """
    steps, units = severity.shape[1:]
    dt = STEP_S / 3600
    outdoor = np.repeat(outdoor, config.components, axis=1)
    comfort = rng.uniform(21.0, 23.0, units)  # zone setpoint while occupied
    load = rng.uniform(0.7, 1.3, units)
    shift = rng.uniform(-1.0, 1.0, units)  # when people come, hours
    stuck_at = np.where(rng.random(units) < 0.5, 0.08, 0.92)

    zone, supply = comfort + 1.0, np.full(units, 13.0)
    valve, integral = np.full(units, 0.3), np.full(units, 0.3)
    sensors, controls = np.empty((4, steps, units)), np.empty((4, steps, units))
    power = np.empty((steps, units))
    hour = (np.arange(steps) * STEP_S / 3600)[:, None]
    clock, weekday = (hour + shift) % 24, (hour // 24 + date.fromisoformat(config.start).weekday()) % 7 < 5
    occupied = ((clock >= 7) & (clock < 19) & weekday).astype(float)
    setpoints = comfort + np.where(occupied > 0, 0.0, 3.0)
    supply_setpoints = np.clip(15.0 - 0.15 * (outdoor - 20.0), 11.0, 16.0)
    for t in range(steps):
        stuck, drift, fouled, conflict, cold, _lost = severity[1:, t]
        reading = zone + 3.0 * drift
        error = reading - setpoints[t]
        integral = np.clip(integral + INTEGRAL * error * dt, 0.0, 1.0)
        command = np.clip(PROPORTIONAL * error + integral, 0.0, 1.0)
        moved = valve + (command - valve) * min(1.0, dt / TAU_VALVE)
        valve = np.where(stuck > 0, stuck_at, moved)
        heater = np.clip(0.5 * (setpoints[t] - 1.5 - reading), 0.0, 1.0)
        heater = np.maximum(heater, 0.7 * conflict)
        effectiveness = EFFECTIVENESS * (1 - 0.65 * fouled)
        supply += dt / TAU_SUPPLY * (supply_setpoints[t] - 6.0 * cold + RISE * valve - supply)
        flow = effectiveness * valve * (zone - supply)
        zone = zone + dt * ((outdoor[t] - zone) / TAU_ZONE + GAIN * load * occupied[t] + HEAT * heater - COOL * flow)
        sensors[:, t] = reading, supply, supply + effectiveness * (zone - supply) * (0.35 + 0.65 * valve), valve
        controls[:, t] = setpoints[t], supply_setpoints[t], command, heater
        power[t] = 2.0 + 4.0 * np.maximum(flow, 0) / COP + 8.0 * heater
    return Traces(sensors, controls, power)
