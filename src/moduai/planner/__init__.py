"""The twin: the live policy, run against modelled engines under a simulated clock.

Words: an *engine* is a model of one replica, a *job* is a request inside it, a *step* is one pass of
its batch, a *dispatcher* is what decides who runs next and where (the fair queue, or a rival that it
is measured against), a *record* is what became of one request. Rule: the dispatcher is the very code
that the gateway runs; only the clock, the engines and the people are made up here. Everything is
deterministic: time is integer nanoseconds and every draw comes from a seed. A decision log of a live
gateway is replayed by the same code too: `replay` ends in the hash that was recorded.
"""

from moduai.planner.basis import Basis, Figure
from moduai.planner.devices import Device, devices
from moduai.planner.models import Model, models
from moduai.planner.replica import Engine, Job
from moduai.planner.run import Dispatcher, Record, Twin
from moduai.planner.steptime import Capacity, Coefficients, DoesNotFitError, StepTime, capacity, step_time
from moduai.planner.traffic import Request
from moduai.scheduling.journal import Replayed, replay

__all__ = [
    "Basis",
    "Capacity",
    "Coefficients",
    "Device",
    "Dispatcher",
    "DoesNotFitError",
    "Engine",
    "Figure",
    "Job",
    "Model",
    "Record",
    "Replayed",
    "Request",
    "StepTime",
    "Twin",
    "capacity",
    "devices",
    "models",
    "replay",
    "step_time",
]
