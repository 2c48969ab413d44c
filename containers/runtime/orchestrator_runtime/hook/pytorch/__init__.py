"""The debugger's PyTorch half: what optimizers, losses, clipping and scalers do, seen from aside."""

from orchestrator_runtime.hook.pytorch.adapter import Adapter, install

__all__ = ["Adapter", "install"]
