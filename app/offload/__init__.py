"""CPU-heavy or dangerous work in a child process that can be killed, so that serving never stalls."""

from app.offload.lane import Lane, LaneClosed, LaneError, LaneTimeout

__all__ = ["Lane", "LaneClosed", "LaneError", "LaneTimeout"]
