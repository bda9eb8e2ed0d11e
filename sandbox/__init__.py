"""Runs untrusted programs."""

from sandbox.canaries import Row
from sandbox.interface import Ending, Limits, Outcome, Program, SandboxFault
from sandbox.pool import Sandbox
from sandbox.probe import probe

__all__ = ["Ending", "Limits", "Outcome", "Program", "Row", "Sandbox", "SandboxFault", "probe"]
