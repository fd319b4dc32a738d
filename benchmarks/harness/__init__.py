"""Parts of the measurements: a fake engine, a load generator, CPU accounting, nginx, peers, Modu itself.

The fake engine is for load and for faults only; what an answer says is proven against a real model.
"""
