"""CPU-heavy or dangerous work in a child process that can be killed, so that serving never stalls (decision 0003)."""

from app.sandbox.sandbox import Sandbox, SandboxClosed, SandboxError, SandboxTimeout

__all__ = ["Sandbox", "SandboxClosed", "SandboxError", "SandboxTimeout"]
