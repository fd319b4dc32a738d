"""Measurements: what Modu promises of cost, memory, start and crashes, checked against real processes.

Words: a *bar* is a promise with a limit, a *target* is the process whose CPU or memory is measured,
the *load side* is the generator and the fake engine, which run on another CPU. Rule: figures are CPU
time or bytes of a real process, medians of interleaved runs, and nothing is left out silently.

``python -m benchmarks --help`` lists what can be run; ``docs/benchmarks.md`` explains each bar.
"""
