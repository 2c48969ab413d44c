"""The loops of Lightning, Transformers and Accelerate; each once as it should be, and once broken."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

from tests.runtime.debugger.programs.common import DEVICE, Account, mlp, say

warnings.filterwarnings("ignore")
torch.set_default_device("cpu")  # the loops move models and batches themselves
IS_ON_CPU = DEVICE == "cpu"
PARTS = 4  # batches whose gradients are added up
RATES = {"": 1e-2, " broken": 1e9}


def batches(count: int) -> TensorDataset:
    torch.manual_seed(1)
    x, y = torch.randn(count * 8, 16), torch.randint(0, 4, (count * 8,))
    return TensorDataset(x, y)


def lightning_loop(kind: str, rate: float) -> None:
    import lightning

    class Module(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()
            self.account = Account.of(self)

        def training_step(self, batch: Any, _: int) -> Tensor:
            loss = functional.cross_entropy(self.net(batch[0]), batch[1])
            self.account.total += float(loss.detach())  # type: ignore[attr-defined]
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), rate)

        def on_before_optimizer_step(self, _: Any) -> None:
            """Gradients are there, and not clipped yet."""
            self.account.measure(self.account.total / PARTS)  # type: ignore[attr-defined]
            self.account.total = 0.0  # type: ignore[attr-defined]

    module = Module()
    module.account.total = 0.0  # type: ignore[attr-defined]
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu" if IS_ON_CPU else "gpu", devices=1, accumulate_grad_batches=PARTS, gradient_clip_val=0.05,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(batches(24), batch_size=8))
    say(kind, module.account, steps=trainer.global_step)


class Words(Dataset[Any]):
    """Random words, to be said again."""

    def __init__(self) -> None:
        self.rows = torch.randint(0, 64, (96, 12), generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


def transformers_loop(kind: str, rate: float) -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=64, n_positions=16, n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    account = Account.of(model)

    class Measure(transformers.TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            account.norms.append({})

        def on_log(self, _: Any, __: Any, ___: Any, logs: Any = None, **____: Any) -> None:
            if "grad_norm" in logs:
                account.losses.append(logs["loss"])
                account.more.setdefault("before", []).append(float(logs["grad_norm"]))

    arguments = transformers.TrainingArguments(
        output_dir="out", max_steps=12, per_device_train_batch_size=2, gradient_accumulation_steps=PARTS,
        max_grad_norm=0.1, learning_rate=rate, logging_steps=1, save_strategy="no", report_to=[],
        use_cpu=IS_ON_CPU, disable_tqdm=True, lr_scheduler_type="constant",
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=Words(), callbacks=[Measure()])
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    say(kind, account, steps=trainer.state.global_step)


def accelerate_loop(kind: str, rate: float) -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=IS_ON_CPU, gradient_accumulation_steps=PARTS)
    model = mlp()
    account = Account.of(model)
    made: Any = torch.optim.AdamW(model.parameters(), rate)
    loader: Any = DataLoader(batches(24), batch_size=8)
    net, optimizer, loader = accelerator.prepare(model, made, loader)
    whole = steps = 0.0
    for _ in range(2):
        for x, y in loader:
            with accelerator.accumulate(net):
                loss = functional.cross_entropy(net(x), y)
                accelerator.backward(loss)
                whole += float(loss.detach())
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(net.parameters(), 0.1)
                    account.measure(whole / PARTS, before=norm)
                    whole, steps = 0.0, steps + 1
                optimizer.step()
                optimizer.zero_grad()
    say(kind, account, steps=int(steps))


if __name__ == "__main__":
    LOOPS = {"lightning": lightning_loop, "transformers": transformers_loop, "accelerate": accelerate_loop}  # fmt: skip
    for name, loop in LOOPS.items():
        for ending, given in RATES.items():
            loop(name + ending, given)
