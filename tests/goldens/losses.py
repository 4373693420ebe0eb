"""Writes losses.json: every loss of the CVAE-GAN and its gradients, computed by PyTorch on fixed inputs.

Run with the versions below: python tests/goldens/losses.py
"""

import json
import pathlib

import torch
import torch.nn.functional as F

assert torch.__version__.split("+")[0] == "2.15.0", torch.__version__
torch.set_default_dtype(torch.float64)
gen = torch.Generator().manual_seed(20)


def draw(*shape, scale=1.0):
    # Few digits, so that the file holds the inputs exactly.
    t = (torch.randn(*shape, generator=gen) * scale * 1000).round() / 1000
    return t.requires_grad_()


def case(loss, **inputs):
    leaves = [t for t in inputs.values() if t.requires_grad]
    grads = torch.autograd.grad(loss, leaves)
    names = [n for n, t in inputs.items() if t.requires_grad]
    return {
        "loss": loss.item(),
        "inputs": {n: {"shape": list(t.shape), "values": t.flatten().tolist()} for n, t in inputs.items()},
        "gradients": {n: g.flatten().tolist() for n, g in zip(names, grads)},
    }


B, Z, K, FD, FC = 5, 3, 4, 6, 7
out = {"torch": torch.__version__.split("+")[0]}

# L_D: logits up to +-40 show that no term overflows.
real, rec, fake = draw(B, scale=10), draw(B, scale=10), draw(B, scale=10)
zeros, ones = torch.zeros(B), torch.ones(B)
bce = F.binary_cross_entropy_with_logits
out["discriminator"] = case(bce(real, ones) + bce(rec, zeros) + bce(fake, zeros), real=real, reconstructed=rec, sampled=fake)

# L_C
logits, labels = draw(B, K, scale=3), torch.tensor([0, 3, 1, 1, 2])
out["classifier"] = case(F.cross_entropy(logits, labels), logits=logits, labels=labels.double())

# L_KL, by torch.distributions
mu, logvar = draw(B, Z), draw(B, Z)
q = torch.distributions.Normal(mu, (logvar / 2).exp())
kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1).mean()
out["kl_divergence"] = case(kl, mu=mu, logvar=logvar)

# One term of L_G
a, b = draw(B, 2, 2, 3), draw(B, 2, 2, 3)
out["pairwise"] = case(F.mse_loss(a, b, reduction="sum") / 2 / B, a=a, b=b)

# L_GD and L_GC over two steps of moving averages, with gradients of the second step. A centre's value is
# decay * old + (1 - decay) * batch mean (the first batch mean of a class starts it); its gradient is the batch mean's.
decay = 0.9
steps, centres = [], {}


def move(kind, key, batch_mean):
    old = centres.get((kind, key))
    value = batch_mean.detach() if old is None else decay * old + (1 - decay) * batch_mean.detach()
    centres[(kind, key)] = value
    return value + (batch_mean - batch_mean.detach())


for labels_real, labels_fake in [([0, 0, 1, 3, 3], [0, 2, 2, 1, 1]), ([1, 1, 1, 0, 2], [3, 1, 0, 2, 0])]:
    fd_r, fc_r, fd_p, fc_p = draw(B, FD), draw(B, FC), draw(B, FD), draw(B, FC)
    gd = 0.5 * (move("real", "all", fd_r.detach().mean(0)) - move("fake", "all", fd_p.mean(0))).pow(2).sum()
    for c in sorted(set(labels_real)):
        move("real", c, fc_r.detach()[[i for i, l in enumerate(labels_real) if l == c]].mean(0))
    gc = torch.zeros(())
    for c in sorted(set(labels_fake)):
        mean = move("fake", c, fc_p[[i for i, l in enumerate(labels_fake) if l == c]].mean(0))
        if ("real", c) in centres:
            gc = gc + 0.5 * (centres[("real", c)] - mean).pow(2).sum()
    g_gd, = torch.autograd.grad(gd, fd_p)
    g_gc, = torch.autograd.grad(gc, fc_p)
    steps.append({
        "labels_real": labels_real, "labels_fake": labels_fake, "loss_gd": gd.item(), "loss_gc": gc.item(),
        "fd_real": fd_r.flatten().tolist(), "fc_real": fc_r.flatten().tolist(),
        "fd_fake": fd_p.flatten().tolist(), "fc_fake": fc_p.flatten().tolist(),
        "gradient_gd": g_gd.flatten().tolist(), "gradient_gc": g_gc.flatten().tolist(),
    })
out["means"] = {"decay": decay, "classes": K, "fd": FD, "fc": FC, "batch": B, "steps": steps}

path = pathlib.Path(__file__).with_suffix(".json")
path.write_text(json.dumps(out, indent=1) + "\n")
print("wrote", path.name)
