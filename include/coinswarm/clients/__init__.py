"""What agents and planners import; each client is a module of its own."""

from coinswarm.clients.committee import CommitteeData
from coinswarm.clients.planner import PlannerData

__all__ = ["CommitteeData", "PlannerData"]
