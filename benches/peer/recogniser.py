"""The recogniser of `augment evaluate` and its training step in PyTorch, from the same resolved configuration.

Same layers and loss as src/evaluate/recogniser; weights are random. Channels-last, fused optimiser.
"""

import torch
import torch.nn.functional as F
from torch import nn

EPS, MOMENTUM = 1e-5, 0.1


def conv_norm(inputs, outputs, kernel, stride):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs, EPS, MOMENTUM))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first, self.slopes = conv_norm(inputs, outputs, 3, stride), nn.PReLU(outputs)
        self.second, self.out_slopes = conv_norm(outputs, outputs, 3, 1), nn.PReLU(outputs)
        reshapes = stride != 1 or inputs != outputs
        self.shortcut = conv_norm(inputs, outputs, 1, stride) if reshapes else nn.Identity()

    def forward(self, x):
        return self.out_slopes(self.second(self.slopes(self.first(x))) + self.shortcut(x))


class Recogniser(nn.Module):
    def __init__(self, config, classes):
        super().__init__()
        net, self.recipe = config["recogniser"], config["recipe"]
        layers = [conv_norm(3, net["stem_channels"], 3, 1), nn.PReLU(net["stem_channels"])]
        inputs = net["stem_channels"]
        for outputs, count in zip(net["channels"], net["blocks"]):
            for i in range(count):
                layers.append(Block(inputs, outputs, 2 if i == 0 else 1))
                inputs = outputs
        side = config["image_size"] >> len(net["channels"])
        layers += [nn.Conv2d(inputs, inputs, side, groups=inputs, bias=False), nn.BatchNorm2d(inputs, EPS, MOMENTUM)]
        layers += [nn.Flatten(), nn.Linear(inputs, net["embedding_size"], bias=False)]
        self.layers = nn.Sequential(*layers, nn.BatchNorm1d(net["embedding_size"], EPS, MOMENTUM))
        self.classes = nn.Parameter(torch.randn(classes, net["embedding_size"]) * 0.01)
        self.to(memory_format=torch.channels_last)
        r = self.recipe
        assert r["loss"] == "cosface", "the other losses are not written here"
        if r["optimiser"] == "adamw":
            args = dict(lr=r["learning_rate"], weight_decay=r["weight_decay"], fused=True)
            self.optimiser = torch.optim.AdamW(self.parameters(), **args)
        else:
            args = dict(lr=r["learning_rate"], weight_decay=r["weight_decay"], momentum=r["momentum"], fused=True)
            self.optimiser = torch.optim.SGD(self.parameters(), **args)

    def step(self, images, labels, bf16):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            embeddings = self.layers(images)
        cosines = F.normalize(embeddings.float()) @ F.normalize(self.classes).T
        margin = F.one_hot(labels, len(self.classes)) * self.recipe["margin"]
        loss = F.cross_entropy((cosines - margin) * self.recipe["scale"], labels)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()

    def parameter_counts(self):
        return {"recogniser": sum(p.numel() for p in self.parameters())}
