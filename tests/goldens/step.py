"""Gradients of one training step of each method by PyTorch: `python step.py > step.json` (torch 2.11).

The networks and losses are those of benches/peer/networks.py. Weights, images and noise come from a formula, which tests/suite/training.rs
repeats: value i of array k is `offset + scale sin(1 + 3 k + 0.7 i)`. Arrays are counted in the order in which they are filled.
"""

import json
import math
import pathlib
import sys

import torch
import torch.nn.functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benches" / "peer"))
from networks import CvaeGan  # noqa: E402

SIDE, Z, CLASSES, BATCH = 16, 4, 3, 6
strided = {"kind": "strided", "channels": [4, 6]}
CONFIG = {
    "image_size": SIDE,
    "model": {
        "latent_dim": Z,
        "encoder": strided,
        "discriminator": strided,
        "classifier": strided,
        "classifier_hidden": [5],
        "generator": {
            "hidden": 0, "start_side": 4, "start_channels": 8, "channels": [6, 3], "kernels": [4, 4],
            "upsample": "transposed", "conditional_norm": True,
        },
    },
    "train": {
        "kl_weight": 3.0, "pair_weight": 2.0, "pair_pixel": 0.7, "pair_d": 0.3, "pair_c": 0.9, "pair_maps": 0.6, "mean_weight": 0.5,
        "class_mean_weight": 0.25, "adversarial_weight": 1.5, "cross_fraction": 0.5, "centre_decay": 0.9,
        "learning_rate": 1e-3, "beta1": 0.5, "beta2": 0.999, "classifier_decay": 0.0,
    },
}  # fmt: skip
LABELS, FAKE_LABELS = [0, 0, 1, 1, 2, 2], [2, 0, 1, 2, 2, 0]

arrays = 0


def filled(shape, offset=0.0, scale=0.1):
    global arrays
    k, arrays = arrays, arrays + 1
    n = math.prod(shape)
    return torch.tensor([offset + scale * math.sin(1 + 3 * k + 0.7 * i) for i in range(n)]).float().reshape(shape)


def trunk(net):
    for i, layer in enumerate(net.trunk.layers):
        yield f"conv{i}.conv", layer.conv.weight
        if layer.conv.bias is not None:
            yield f"conv{i}.bias", layer.conv.bias
        else:
            yield f"conv{i}.gamma", layer.norm.gamma
            yield f"conv{i}.beta", layer.norm.beta


def parameters(model):
    """Ours by name, and how PyTorch's lies in memory."""
    e, g, d, c = model.e, model.g, model.d, model.c
    for network, net in ("encoder", e), ("discriminator", d), ("classifier", c):
        for name, p in trunk(net):
            yield f"{network}.{name}", p
        if network == "classifier":
            for i, (fc, norm) in enumerate(net.hidden):
                yield f"classifier.hidden{i}.weight", fc.weight
                yield f"classifier.hidden{i}.gamma", norm.gamma
                yield f"classifier.hidden{i}.beta", norm.beta
        yield f"{network}.fc.weight", net.fc.weight
        yield f"{network}.fc.bias", net.fc.bias
    yield "encoder.fc.label", e.label.weight
    yield "generator.fc.weight", g.fc.weight
    yield "generator.fc.label", g.label.weight
    for name, norm in [("start", g.first), *((f"block{i}", n) for i, n in enumerate(g.norms))]:
        yield f"generator.{name}.gamma", norm.gamma
        yield f"generator.{name}.beta", norm.beta
    for i, conv in enumerate(g.convs):
        yield f"generator.block{i}.conv", conv.weight
    yield f"generator.block{len(g.convs) - 1}.bias", g.convs[-1].bias


def ours(name, t):
    """PyTorch's layout to ours: [out, in, h, w] to [h, w, in, out], [out, in] to [1, 1, in, out]."""
    if t.dim() == 4:
        return t.permute(2, 3, 1, 0)
    return t.t()[None, None] if name.endswith(".weight") else t


def theirs(name, t):
    if t.dim() == 4:
        return t[0, 0].t() if name.endswith(".weight") else t.permute(3, 2, 0, 1)
    return t


def fill():
    """A model, images and noise by the formula."""
    global arrays
    arrays = 0
    model = CvaeGan(CONFIG, CLASSES)
    with torch.no_grad():
        for name, p in sorted(parameters(model)):
            value = filled(ours(name, p).shape, 1.0 if name.endswith("gamma") else 0.0)
            p.copy_(theirs(name, value))
    x = filled((BATCH, SIDE, SIDE, 3), scale=0.9).permute(0, 3, 1, 2)
    return model, x, filled((BATCH, Z), scale=1.0), filled((BATCH, Z), scale=1.0)


def baseline(method):
    """One of the paper's other methods, written out: which network descends on what, and nothing else."""
    model, x, posterior_noise, prior_noise = fill()
    t, labels, fake_labels = CONFIG["train"], torch.tensor(LABELS), torch.tensor(FAKE_LABELS)
    losses = {}
    features, logits, _ = model.c(x, "train")
    losses["c"] = F.cross_entropy(logits, labels)
    losses["c"].backward()
    if method == "cvae":
        mu, logvar = model.e(x, labels, "train")
        z = mu + (0.5 * logvar).exp() * posterior_noise
        losses["kl"] = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum() / BATCH
        losses["pixel"] = 0.5 * (x - model.g(z, labels, "batch")).square().sum() / BATCH
        (t["kl_weight"] * losses["kl"] + t["pair_weight"] * t["pair_pixel"] * losses["pixel"]).backward()
        return model, losses
    fake = model.g(prior_noise, fake_labels, "train")
    features_d, real, _ = model.d(x, "train")
    losses["d"] = F.softplus(-real).mean() + F.softplus(model.d(fake.detach(), "batch")[1]).mean()
    gradients = torch.autograd.grad(losses["d"], list(model.d.parameters()))
    fd, verdict, _ = model.d(fake, "batch")
    fc, logits, _ = model.c(fake, "batch")
    if method == "cgan":
        losses["adversarial"], losses["class_adversarial"] = F.softplus(-verdict).mean(), F.cross_entropy(logits, fake_labels)
        loss = losses["adversarial"] + losses["class_adversarial"]
    else:
        losses["gd"], losses["gc"] = model.centres.update(
            features_d.detach(), features.detach(), labels, fd, fc, fake_labels
        )
        loss = t["mean_weight"] * losses["gd"] + t["class_mean_weight"] * losses["gc"]
    generator = list(model.g.parameters())
    for p, grad in zip(generator, torch.autograd.grad(loss, generator)):
        p.grad = grad
    for p, grad in zip(model.d.parameters(), gradients):
        p.grad = grad
    return model, losses


def entry(model, losses):
    gradients = {
        name: [float(f"{v:.7g}") for v in ours(name, p.grad).flatten().tolist()]
        for name, p in sorted(parameters(model))
        if p.grad is not None
    }
    return {"losses": {f"loss_{n}": float(v.detach() if torch.is_tensor(v) else v) for n, v in losses.items()}, "gradients": gradients}


model, x, posterior_noise, prior_noise = fill()
losses = model.step(x, torch.tensor(LABELS), torch.tensor(FAKE_LABELS), posterior_noise, prior_noise, False)
names = ["kl", "pixel", "pair_d", "pair_c", "gd", "gc", "d", "c"]
methods = {"cvae-gan": entry(model, dict(zip(names, losses)))}
methods |= {method: entry(*baseline(method)) for method in ("cvae", "cgan", "fm-cgan")}
golden = {"torch": torch.__version__, "config": CONFIG, "labels": LABELS, "fake_labels": FAKE_LABELS, "methods": methods}
print(json.dumps(golden))
