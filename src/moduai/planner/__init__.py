"""How many accelerators, where, and who waits how long: a plan run before it is paid for.

Two ways. A *nation* (``scenario`` → ``load`` → ``plant`` → ``fluid`` → ``outcome`` → ``report``) is flows by
ticks: people, sites and years, without single requests. The *twin* (``run`` with ``replica``; ``cell`` with
the compiled ``engine``) is every request, and the dispatcher is the very code that the gateway runs. Both
take what a step costs from ``steptime``, which ``calibrate`` fits to measured points.

Words: an *engine* is a model of one replica, a *job* is a request inside it, a *step* is one pass of its
batch, a *dispatcher* is what decides who runs next and where (the fair queue, or a rival that it is measured
against), a *record* is what became of one request. Rule: only the clock, the engines and the people are made
up here, and every figure says whether it is measured, fitted, published or assumed. Everything is
deterministic: the twin's time is integer nanoseconds and every draw comes from a seed. A decision log of a
live gateway is replayed by the same code too: ``replay`` ends in the hash that was recorded.
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
