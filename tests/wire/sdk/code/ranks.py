"""Adds up over all ranks that torchrun has started, and says who could be reached from there."""

import json
import os
import socket
from pathlib import Path

import torch
import torch.distributed as dist


def reaches_the_outside() -> bool:
    """Return whether a packet would find a way: no name is asked for, nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # of the block for documentation
        except OSError:
            return False
    return True


dist.init_process_group("gloo")
total = torch.ones(1)
dist.all_reduce(total)
if dist.get_rank() == 0:
    found = {
        "sum": total.item(),
        "world": dist.get_world_size(),
        "outside": reaches_the_outside(),
        "hosts": json.loads(os.environ["SM_HOSTS"]),
    }
    Path(os.environ["SM_MODEL_DIR"], "ranks.json").write_text(json.dumps(found))
print(f"rank {dist.get_rank()} of {dist.get_world_size()}", flush=True)
dist.destroy_process_group()
