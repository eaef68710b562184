"""The callbacks of docs/watch.md work as they stand there."""

import json
import re

import numpy as np
import pytest

import npresnext as nx
from npresnext.gradients import read_rows

from tests.support.paths import ROOT

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("default")]  # the frameworks warn of themselves


def callback_of_the_page(base, **names):
    """The class GradNorms of the page that is derived from `base`."""
    page = (ROOT / "docs" / "watch.md").read_text(encoding="utf-8")
    (code,) = re.findall(rf"^```python\n(class GradNorms\({re.escape(base)}\).*?)^```$", page, re.MULTILINE | re.DOTALL)
    exec(code, names | {"nx": nx}, names)
    return names["GradNorms"]


def small_network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(4, 8, 3, groups=2), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    )


def examples(number):
    return [(torch.randn(4, 6, 6), index % 3) for index in range(number)]


def test_lightning(tmp_path, monkeypatch):
    lightning = pytest.importorskip("lightning", reason="Lightning is not installed")
    monkeypatch.chdir(tmp_path)

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = small_network()

        def training_step(self, batch, index):
            images, labels = batch
            return torch.nn.functional.cross_entropy(self.network(images), labels)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=2,
        accumulate_grad_batches=2,
        gradient_clip_val=1e-3,
        callbacks=[callback_of_the_page("lightning.Callback", lightning=lightning)()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(), torch.utils.data.DataLoader(examples(12), batch_size=2))
    rows = read_rows(tmp_path / "norms.csv")
    assert [row["step"] for row in rows[::2]] == [0, 1, 2, 3, 4, 5] and [row["epoch"] for row in rows[::6]] == [0, 1]
    assert {(row["layer"], row["accumulated"]) for row in rows} == {("network.0", 2)}
    assert max(row["l2"] for row in rows) > 1e-2  # before they are clipped
    assert json.loads((tmp_path / "norms.csv.meta.json").read_text())["ended"] == "finished"


def test_hugging_face(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    monkeypatch.chdir(tmp_path)

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = small_network()

        def forward(self, images, labels):
            logits = self.network(images)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    state = np.random.get_state()
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path / "runs"),
        num_train_epochs=1,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=3,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = transformers.Trainer(
        model=Classifier(),
        args=arguments,
        train_dataset=[{"images": image, "labels": label} for image, label in examples(12)],
        callbacks=[callback_of_the_page("transformers.TrainerCallback", transformers=transformers)()],
    )
    trainer.train()
    np.random.set_state(state)  # the trainer seeds NumPy's global generator
    rows = read_rows(tmp_path / "norms.csv")
    assert [row["step"] for row in rows[::2]] == [0, 1]
    assert {(row["layer"], row["accumulated"]) for row in rows} == {("network.0", 3)}
