"""Copies, membership inference and wrong identities: the demonstration set's synthetic images, and a generator that returns
training photographs."""

import json

from common import DEMO, WORK, augment, plant, row, trained

test = ["evaluate", "--manifest", DEMO, "--held-out", "test", "--pairs-from", "dev", "--seeds", 1, "--arms", "real", "--json"]


def quality(synthetic, seed, out):
    text = augment(*test, "--seed", seed, "--synthetic", synthetic, "--out", out).stdout
    return json.loads(text)["quality"]


model, faces, merged = trained("40"), WORK / "faces", WORK / "merged"
judge = WORK / "judge"
augment(*test, "--seed", 7, "--out", judge)
augment("synthesize", "--model", model, "--per-id", 50, "--judge", judge, "-q", "--out", faces)
own = quality(faces, 0, WORK / "own")
augment(
    "--manifest", DEMO, "--model", model, "--per-id", 1, "--include-real", "--encoding", "png", "-q", "--out", merged,
)  # fmt: skip
plant("copies", merged, WORK / "copies")
planted = quality(WORK / "copies", 0, WORK / "own")
share, natural = own["existing"]["copies"], own["real"]["copies"]
ratio = share["mean"] / natural["mean"]
flagged = planted["existing"]["copies"]["share"]
row(
    "copies of training images",
    f"{100 * share['share']:.2f} % of {own['existing']['images']} (held-out real images {100 * natural['share']:.2f} %); mean similarity to the nearest "
    f"{ratio:.2f} of that of held-out ones; {100 * flagged:.1f} % of planted copies flagged",
    "<= 0.1 %, ratio <= 1.2, planted >= 99 %",
    share["share"] <= 0.001 and ratio <= 1.2 and flagged >= 0.99,
)
attack, control = own["membership"], planted["membership"]
row(
    "membership inference",
    f"AUC {attack['auc']:.3f}, {100 * attack['tpr_at_fpr_1e2']:.1f} % true positives at 1 % false ones "
    f"({attack['members']} training and {attack['others']} held-out images); planted copies: AUC {control['auc']:.3f}",
    "AUC <= 0.55, <= 2 %; an over-fitted control >= 0.9",
    attack["auc"] <= 0.55 and attack["tpr_at_fpr_1e2"] <= 0.02 and control["auc"] >= 0.9,
)
wrong = 1 - own["existing"]["top1"]
row(
    "wrong identities",
    f"{100 * wrong:.2f} % of {own['existing']['images']} filtered images are nearer to another identity, by a recogniser that is not the judge "
    f"(held-out real images {100 * (1 - own['real']['top1']):.2f} %)",
    "<= 0.5 %",
    wrong <= 0.005,
)
