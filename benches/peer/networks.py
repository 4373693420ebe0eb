"""The networks and the training step of `augment` in PyTorch, built from the same resolved configuration.

Same layers, same losses, same order of updates as src/model and src/train/step.rs; weights are random. Written as a
PyTorch user would for speed: channels-last, gradients of frozen weights never asked for, fused Adam, foreach averages.
"""

import torch
import torch.nn.functional as F
from torch import nn

EPS, MOMENTUM = 1e-5, 0.1


class BatchNormAct(nn.Module):
    """Batch normalisation and activation; with `classes`, scale and shift depend on the label."""

    def __init__(self, channels, slope, classes=None):
        super().__init__()
        shape = (channels,) if classes is None else (classes, channels)
        self.gamma, self.beta = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))
        self.slope, self.conditional = slope, classes is not None

    def forward(self, x, labels=None, mode="train"):
        mean, var = (None, None) if mode == "batch" else (self.mean, self.var)
        gamma, beta = (None, None) if self.conditional else (self.gamma, self.beta)
        x = F.batch_norm(x, mean, var, gamma, beta, mode != "eval", MOMENTUM, EPS)
        if self.conditional:
            gamma, beta = F.embedding(labels, self.gamma), F.embedding(labels, self.beta)
            x = torch.addcmul(beta[:, :, None, None], x, gamma[:, :, None, None])
        return F.relu(x, inplace=True) if self.slope == 0 else F.leaky_relu(x, self.slope, inplace=True)


class ConvNorm(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride, pad, slope):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, pad, bias=False)
        self.norm = BatchNormAct(outputs, slope)

    def forward(self, x, mode):
        return self.norm(self.conv(x), None, mode)


class Plain(nn.Module):
    """Convolution with bias instead of normalisation: DCGAN's first."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 4, 2, 1)

    def forward(self, x, mode):
        return F.leaky_relu(self.conv(x), 0.2, inplace=True)


class Pool(nn.Module):
    def __init__(self, kernel, stride, pad):
        super().__init__()
        self.args = kernel, stride, pad

    def forward(self, x, mode):
        return F.max_pool2d(x, *self.args)


class Inception(nn.Module):
    def __init__(self, inputs, one, r3, three, r5, five, pool):
        super().__init__()
        conv = lambda i, o, k: ConvNorm(i, o, k, 1, k // 2, 0)
        self.one, self.pool = conv(inputs, one, 1), conv(inputs, pool, 1)
        self.r3, self.three = conv(inputs, r3, 1), conv(r3, three, 3)
        self.r5, self.five = conv(inputs, r5, 1), conv(r5, five, 5)

    def forward(self, x, mode):
        pooled = self.pool(F.max_pool2d(x, 3, 1, 1), mode)
        branches = self.one(x, mode), self.three(self.r3(x, mode), mode), self.five(self.r5(x, mode), mode), pooled
        return torch.cat(branches, 1)


INCEPTIONS = [
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), None,
    (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128), None,
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
]  # fmt: skip


class Trunk(nn.Module):
    def __init__(self, config, image_size):
        super().__init__()
        layers, self.mean = [], False
        if config["kind"] == "strided":
            inputs = 3
            for i, outputs in enumerate(config["channels"]):
                layers.append(Plain(3, outputs) if i == 0 else ConvNorm(inputs, outputs, 4, 2, 1, 0.2))
                inputs = outputs
            self.features = inputs * (image_size >> len(config["channels"])) ** 2
        elif config["kind"] == "alexnet":
            layers = [ConvNorm(3, 64, 11, 4, 2, 0), Pool(3, 2, 0), ConvNorm(64, 192, 5, 1, 2, 0), Pool(3, 2, 0)]
            layers += [ConvNorm(192, 384, 3, 1, 1, 0), ConvNorm(384, 256, 3, 1, 1, 0), ConvNorm(256, 256, 3, 1, 1, 0)]
            layers.append(Pool(3, 2, 0))
            self.features = 256 * 3 * 3
        else:
            layers = [ConvNorm(3, 64, 7, 2, 3, 0), Pool(3, 2, 1), ConvNorm(64, 64, 1, 1, 0, 0)]
            layers += [ConvNorm(64, 192, 3, 1, 1, 0), Pool(3, 2, 1)]
            inputs = 192
            for widths in INCEPTIONS:
                if widths is None:
                    layers.append(Pool(3, 2, 1))
                    continue
                layers.append(Inception(inputs, *widths))
                inputs = widths[0] + widths[2] + widths[4] + widths[5]
            self.features, self.mean = inputs, True
        self.layers = nn.ModuleList(layers)

    def forward(self, x, mode):
        maps = []
        for layer in self.layers:
            x = layer(x, mode)
            maps.append(x)
        # Flattened in the order of the values in memory, which costs nothing in channels-last.
        return (x.mean((2, 3)) if self.mean else x.permute(0, 2, 3, 1).flatten(1)), maps[: None if self.mean else -1]


class Encoder(nn.Module):
    def __init__(self, config, classes):
        super().__init__()
        self.z = config["model"]["latent_dim"]
        self.trunk = Trunk(config["model"]["encoder"], config["image_size"])
        self.fc = nn.Linear(self.trunk.features, 2 * self.z)
        self.label = nn.Embedding(classes, 2 * self.z)

    def forward(self, x, labels, mode):
        h = self.fc(self.trunk(x, mode)[0]) + self.label(labels)
        return h[:, : self.z], h[:, self.z :].clamp(-12, 8)


class Generator(nn.Module):
    def __init__(self, config, classes):
        super().__init__()
        g, z = config["model"]["generator"], config["model"]["latent_dim"]
        conditional = classes if g["conditional_norm"] else None
        self.start = (g["start_side"], g["start_side"], g["start_channels"])
        start = self.start[0] ** 2 * self.start[2]
        width = g["hidden"] or start
        self.fc, self.label = nn.Linear(z, width, bias=False), nn.Embedding(classes, width)
        self.hidden = nn.ModuleList()
        if g["hidden"]:
            self.hidden.extend([BatchNormAct(width, 0), nn.Linear(width, start, bias=False)])
        self.first = BatchNormAct(self.start[2], 0, conditional)
        self.transposed = g["upsample"] == "transposed"
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        inputs, last = self.start[2], len(g["channels"]) - 1
        for i, (outputs, kernel) in enumerate(zip(g["channels"], g["kernels"])):
            conv = nn.ConvTranspose2d if self.transposed else nn.Conv2d
            stride, pad = (2, kernel // 2 - 1) if self.transposed else (1, kernel // 2)
            self.convs.append(conv(inputs, outputs, kernel, stride, pad, bias=i == last))
            if i < last:
                self.norms.append(BatchNormAct(outputs, 0, conditional))
            inputs = outputs

    def forward(self, z, labels, mode):
        x = self.fc(z) + self.label(labels)
        if self.hidden:
            x = self.hidden[1](self.hidden[0](x, None, mode))
        x = self.first(x.view(-1, *self.start).permute(0, 3, 1, 2), labels, mode)
        for i, conv in enumerate(self.convs):
            x = conv(x if self.transposed else F.interpolate(x, scale_factor=2, mode="nearest"))
            x = self.norms[i](x, labels, mode) if i < len(self.norms) else torch.tanh(x)
        return x


class Discriminator(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.trunk = Trunk(config["model"]["discriminator"], config["image_size"])
        self.fc = nn.Linear(self.trunk.features, 1)

    def forward(self, x, mode):
        features, maps = self.trunk(x, mode)
        return features, self.fc(features)[:, 0], maps


class Classifier(nn.Module):
    def __init__(self, config, classes):
        super().__init__()
        self.trunk = Trunk(config["model"]["classifier"], config["image_size"])
        width, self.hidden = self.trunk.features, nn.ModuleList()
        for outputs in config["model"]["classifier_hidden"]:
            self.hidden.append(nn.ModuleList([nn.Linear(width, outputs, bias=False), BatchNormAct(outputs, 0.2)]))
            width = outputs
        self.fc = nn.Linear(width, classes)

    def forward(self, x, mode):
        h, maps = self.trunk(x, mode)
        for fc, norm in self.hidden:
            h = norm(fc(h), None, mode)
        return h, self.fc(h), maps


class Centres:
    """Moving averages of feature means, with the gradient of the newest batch."""

    def __init__(self, classes, decay):
        self.decay, self.overall, self.classes = decay, {}, {}
        self.seen = {side: torch.zeros(classes, dtype=torch.bool) for side in ("real", "fake")}

    def move_overall(self, side, features):
        batch = features.mean(0)
        old = self.overall.get(side)
        value = batch.detach() if old is None else torch.lerp(batch.detach(), old, self.decay)
        self.overall[side] = value
        return value + (batch - batch.detach())

    def move_classes(self, side, features, labels):
        distinct, inverse, counts = labels.unique(return_inverse=True, return_counts=True)
        sums = torch.zeros(len(distinct), features.shape[1]).index_add(0, inverse, features)
        batch = sums / counts[:, None]
        if side not in self.classes:
            self.classes[side] = torch.zeros(len(self.seen[side]), features.shape[1])
        keep = torch.where(self.seen[side][distinct], self.decay, 0.0)[:, None]
        value = torch.lerp(batch.detach(), self.classes[side][distinct], keep.expand_as(batch))
        self.classes[side][distinct] = value
        self.seen[side][distinct] = True
        return distinct, value + (batch - batch.detach())

    def update(self, fd_real, fc_real, labels_real, fd_fake, fc_fake, labels_fake):
        real, fake = self.move_overall("real", fd_real), self.move_overall("fake", fd_fake)
        overall = 0.5 * (real - fake).square().sum()
        self.move_classes("real", fc_real, labels_real)
        distinct, fake = self.move_classes("fake", fc_fake, labels_fake)
        known = self.seen["real"][distinct][:, None]
        return overall, 0.5 * ((self.classes["real"][distinct] - fake) * known).square().sum()


def pairwise(a, b):
    return 0.5 * (a.float() - b.float()).square().sum() / a.shape[0]


class CvaeGan:
    """The four networks, their optimisers, the averaged generator, and one update."""

    def __init__(self, config, classes):
        self.config, self.train = config, config["train"]
        self.e, self.g = Encoder(config, classes), Generator(config, classes)
        self.d, self.c = Discriminator(config), Classifier(config, classes)
        self.averaged = Generator(config, classes)
        self.networks = {"encoder": self.e, "generator": self.g, "discriminator": self.d, "classifier": self.c}
        for net in [*self.networks.values(), self.averaged]:
            net.to(memory_format=torch.channels_last)
        self.averaged.requires_grad_(False)
        betas = (self.train["beta1"], self.train["beta2"])
        parameters = [p for net in (self.e, self.g, self.d) for p in net.parameters()]
        groups = [{"params": parameters}, {"params": self.c.parameters(), "weight_decay": self.train["classifier_decay"]}]
        self.optimizer = torch.optim.AdamW(groups, self.train["learning_rate"], betas, weight_decay=0, fused=True)
        self.centres = Centres(classes, self.train["centre_decay"])

    def parameter_counts(self):
        return {name: sum(p.numel() for p in net.parameters()) for name, net in self.networks.items()}

    def step(self, x_r, labels, fake_labels, posterior_noise, prior_noise, autocast):
        t = self.train
        with torch.autocast(x_r.device.type, torch.bfloat16, enabled=autocast):
            mu, logvar = self.e(x_r, labels, "train")
            mu, logvar = mu.float(), logvar.float()
            z_f = mu + (0.5 * logvar).exp() * posterior_noise
            crossed = round(t["cross_fraction"] * len(labels))
            z_p = torch.cat([z_f.detach().flip(0)[:crossed], prior_noise[crossed:]])
            g_f, g_p = self.g(z_f, labels, "batch"), self.g(z_p, fake_labels, "train")
            x_f, x_p = g_f.detach().requires_grad_(), g_p.detach().requires_grad_()

            fc_r, logits, maps_c_r = self.c(x_r, "train")
            loss_c = F.cross_entropy(logits.float(), labels)
            fd_r, real, maps_d_r = self.d(x_r, "train")
            fd_f, reconstructed, maps_d_f = self.d(x_f, "batch")
            fd_p, sampled, _ = self.d(x_p, "batch")
            loss_d = F.softplus(-real.float()).mean()
            loss_d = loss_d + F.softplus(reconstructed.float()).mean() + F.softplus(sampled.float()).mean()

            fc_f, _, maps_c_f = self.c(x_f, "batch")
            fc_p, logits_p, _ = self.c(x_p, "batch")
        fd_r, fc_r = fd_r.detach().float(), fc_r.detach().float()
        pixel, pair_d, pair_c = pairwise(x_r, x_f), pairwise(fd_r, fd_f), pairwise(fc_r, fc_f)
        loss_gd, loss_gc = self.centres.update(fd_r, fc_r, labels, fd_p.float(), fc_p.float(), fake_labels)
        features = t["pair_pixel"] * pixel + t["pair_d"] * pair_d + t["pair_c"] * pair_c
        if t["pair_maps"]:
            for real_map, made in zip(maps_d_r + maps_c_r, maps_d_f + maps_c_f):
                features = features + t["pair_maps"] * pairwise(real_map.detach(), made) / real_map[0, 0].numel()
        features = t["pair_weight"] * features + t["mean_weight"] * loss_gd + t["class_mean_weight"] * loss_gc
        if t["adversarial_weight"]:
            adversarial = F.softplus(-reconstructed.float()).mean() + F.softplus(-sampled.float()).mean()
            features = features + t["adversarial_weight"] * adversarial
        at_f, at_p = torch.autograd.grad(features, [x_f, x_p], retain_graph=True)

        self.optimizer.zero_grad(set_to_none=True)
        parameters = list(self.d.parameters())
        for p, g in zip(parameters, torch.autograd.grad(loss_d, parameters)):
            p.grad = g
        loss_c.backward()
        loss_kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum() / len(labels)
        kl = t["kl_weight"] * loss_kl
        torch.autograd.backward([g_f, g_p, kl], [at_f.to(g_f.dtype), at_p.to(g_p.dtype), None])
        self.optimizer.step()
        decay = 0.99
        torch._foreach_lerp_(list(self.averaged.parameters()), [p.detach() for p in self.g.parameters()], 1 - decay)
        return [v.item() for v in (loss_kl, pixel, pair_d, pair_c, loss_gd, loss_gc, loss_d, loss_c)]
