"""Simulated providers: faithful dialects with faults on demand, for the demo, the end-to-end tests and the benchmark."""

from extproc.simulator.faults import Fault, FaultKind
from extproc.simulator.received import Received
from extproc.simulator.server import Simulator

__all__ = ["Fault", "FaultKind", "Received", "Simulator"]
