"""Scenarios: what is asked, by whom, and what there is to answer it, as one file that anyone can check.

Words: a *demand* is one stream of questions (pupils, agents, a night's batch), its *askers* are the people or
programs behind it, a *fleet* is a number of accelerators of one kind, a *pool* is the part of a fleet that
stands at one site and runs one model, an *event* is what happens on the way (a site is lost, a launch). A
scenario may take regions, groups, sites, accelerators, prices and budgets from a country pack, and may begin
from another scenario and change some of it.

Rule: a scenario is data from a stranger. Nothing is guessed and nothing is run; every fault is told with its
file and line, why, and what would be right, all at once, and a scenario with a fault is not used (fails
closed). Every figure has a basis and a source.
"""

from moduai.planner.scenario.read import Given, ScenarioError, read, shipped
from moduai.planner.scenario.world import Pool, World

__all__ = ["Given", "Pool", "ScenarioError", "World", "read", "shipped"]
