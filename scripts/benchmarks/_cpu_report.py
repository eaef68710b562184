"""The report of cpu.py: targets, tables and curves."""

import statistics

from _common import KINDS, spread

from npresnext._support.files import atomic_path

STEPS = {"resnext50_32x4d": 0.95, "resnet50": 1.05, "resnet18": 1.2, "resnext50_32x4d float64": 0.95}  # targets


def resnext50_layers():
    """The 53 convolutions of ResNeXt-50 32x4d at 224x224, equal ones counted."""
    layers = [layer(3, 64, 224, 7, 2, first=True)]
    inputs = 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        width, outputs, size, stride = 128 * 2**stage, 256 * 2**stage, 56 // 2**stage, 2 if stage else 1
        layers += [
            layer(inputs, width, size * stride, 1),
            layer(inputs, outputs, size * stride, 1, stride),
            layer(width, width, size * stride, 3, stride, groups=32),
            layer(width, width, size, 3, groups=32, count=depth - 1),
            layer(width, outputs, size, 1, count=depth),
            layer(outputs, width, size, 1, count=depth - 1),
        ]
        inputs = outputs
    return layers


def resnet18_layers():
    """The 3x3 convolutions of ResNet-18 at 224x224, which are dense, equal ones counted."""
    layers = [layer(64, 64, 56, 3, count=4)]
    for width, size in ((128, 28), (256, 14), (512, 7)):
        layers += [layer(width // 2, width, size * 2, 3, 2), layer(width, width, size, 3, count=3)]
    return layers


def layer(inputs, outputs, size, kernel, stride=1, groups=1, count=1, first=False):
    return {
        "inputs": inputs,
        "outputs": outputs,
        "size": size,
        "kernel": kernel,
        "stride": stride,
        "groups": groups,
        "count": count,
        "first": first,
    }


def ratios(rounds, choose, subject="torch"):
    """One ratio npresnext / subject for each round; `choose` makes a number of one subject's results."""
    return [choose(one["npresnext"]) / choose(one[subject]) for one in rounds]


def total(kind, layers, wanted=lambda each: True):
    """Return a function that adds a kind of time up over the wanted layers, each as often as it occurs."""
    return lambda times: sum(t[kind] * each["count"] for t, each in zip(times, layers) if wanted(each))


def layer_name(each):
    """Such as 128→128 3x3/2 at 56, G=32."""
    stride = f"/{each['stride']}" if each["stride"] > 1 else ""
    groups = f", G={each['groups']}" if each["groups"] > 1 else ""
    return f"{each['inputs']}→{each['outputs']} {each['kernel']}x{each['kernel']}{stride} at {each['size']}{groups}"


def report(data):
    """Yield the lines of a Markdown report of everything in `data`."""
    yield "| " + " | ".join(f"{name} {value}" for name, value in data["machine"].items()) + " |"
    goals = list(targets(data))
    if goals:
        yield "\n| figure | target | measured | |\n|---|---|---|---|"
    for name, bound, values in goals:
        goal, at_least = float(bound.split()[1]), bound.startswith("≥")
        middle = statistics.median(values)
        verdict = "reached" if (middle >= goal if at_least else middle <= goal) else "**missed**"
        yield f"| {name} | {bound} | {spread(values)} | {verdict} |"
    yield from tables(data)


def targets(data):
    """Yield (figure, bound, one value a round) for every target that has been measured."""
    if "layers" in data:
        yield from layer_targets(data["layers"])
    for name, goal in STEPS.items():
        if f"network:{name}" in data:
            times = data[f"network:{name}"]
            yield f"training step of {name}", f"≤ {goal}", ratios(times, lambda each: each["training step"])
    if "network:resnext50_32x4d" in data:
        times = data["network:resnext50_32x4d"]
        yield "inference of resnext50_32x4d, fused", "≤ 0.95", ratios(times, lambda each: each["inference"])
        yield "peak memory of its training step", "≤ 1", ratios(times, lambda each: each["peak memory of training"])
    grouped = [each for each in resnext50_layers() if is_grouped(each)]
    for subject, goal in (("onnx", 15), ("textbook", 3)) if "slow" in data else ():
        times = ratios(data["slow"], total("forward", grouped), subject)
        yield f"the grouped 3x3, forward: {subject}'s time / npresnext's", f"≥ {goal}", [1 / ratio for ratio in times]
    for curve in data["scaling"][0] if "scaling" in data else ():
        if curve.startswith("batch"):
            for index, kind in enumerate(KINDS[:2], start=1):
                each = [point[index] / point[0] for point in curve_points(data["scaling"], curve)]
                yield f"time per image, {curve}, {kind}: largest / smallest", "≤ 1.1", [max(each) / min(each)]


def layer_targets(rounds):
    """Yield the targets of single convolutions and of their sums."""
    layers = resnext50_layers()
    for kind, goal in (("forward", 0.95), ("backward", 0.90)):
        yield f"the 53 convolutions of ResNeXt-50, {kind}", f"≤ {goal:.2f}", ratios(rounds, total(kind, layers))
    for kind, goal in (("forward", 1.3), ("backward", 0.9)):
        yield f"the grouped 3x3, {kind}", f"≤ {goal}", ratios(rounds, total(kind, layers, is_grouped))
    candidates = [
        (ratios(rounds, lambda times, i=index, k=kind: times[i][k]), f"{layer_name(each)}, {kind}")
        for index, each in enumerate(layers)
        for kind in KINDS[:2]
    ]
    values, worst = max(candidates, key=lambda candidate: statistics.median(candidate[0]))
    yield f"the slowest layer ({worst})", "≤ 2.0", values


def is_grouped(each):
    return each["groups"] > 1


def tables(data):
    """Yield the lines of Markdown tables of everything in `data`."""
    if "peak" in data:
        yield f"\nBLAS peak: {statistics.median(one['npresnext']['GFLOP/s'] for one in data['peak']):.0f} GFLOP/s"
    if "layers" in data:
        sums = {
            "all 53 convolutions": lambda each: True,
            "the grouped 3x3": is_grouped,
            "the 1x1": lambda each: each["kernel"] == 1,
        }
        yield from layer_tables(data["layers"], resnext50_layers(), sums)
    if "dense" in data:
        yield from layer_tables(data["dense"], resnet18_layers(), {"the 3x3 of ResNet-18": lambda each: True})
    if "slow" in data:
        grouped = [each for each in resnext50_layers() if is_grouped(each)]
        yield "\n| the grouped 3x3, time of it / npresnext | forward | backward |\n|---|---|---|"
        for subject in ("textbook", "onnx"):
            cells = []
            for kind in KINDS[:2] if subject == "textbook" else KINDS[:1]:
                times = ratios(data["slow"], total(kind, grouped), subject)
                cells.append(spread([1 / ratio for ratio in times]))
            yield f"| {subject} | " + " | ".join(cells) + (" |" if subject == "textbook" else " | – |")
    networks = [name for name in data if name.startswith("network:")]
    if networks:
        yield "\n| network | against | training step | inference | peak memory of training | ms of a step |"
        yield "|---" * 6 + "|"
        for name in networks:
            for subject in list(data[name][0])[1:]:
                keys = ("training step", "inference", "peak memory of training")
                cells = [spread(ratios(data[name], lambda times, k=key: times[k], subject)) for key in keys]
                ms = [
                    statistics.median(one[who]["training step"] * 1e3 for one in data[name])
                    for who in ("npresnext", subject)
                ]
                yield f"| {name[8:]} | {subject} | " + " | ".join(cells) + f" | {ms[0]:.0f} / {ms[1]:.0f} |"
    for curve in data["scaling"][0] if "scaling" in data else ():
        yield f"\n| {curve} | ms forward | ms backward |\n|---|---|---|"
        for value, forward, backward in curve_points(data["scaling"], curve):
            yield f"| {value} | {forward:.2f} | {backward:.2f} |"


def layer_tables(rounds, layers, sums):
    """Yield the lines of two tables: sums over the layers that a function wants, by name, and every layer."""
    subjects = list(rounds[0])[1:]
    titles = [
        kind + (", channels last" if subject == "torch-channels-last" else "")
        for subject in subjects
        for kind in KINDS[:2]
    ]
    yield "\n| npresnext / PyTorch | " + " | ".join(titles) + " |"
    yield "|---" * (1 + len(titles)) + "|"
    for name, wanted in sums.items():
        cells = [
            spread(ratios(rounds, total(kind, layers, wanted), subject)) for subject in subjects for kind in KINDS[:2]
        ]
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield "\n| layer | times | ms forward | " + " | ".join(f"{kind}: ratio" for kind in KINDS) + " |"
    yield "|---" * 7 + "|"
    for index, each in enumerate(layers):
        ms = statistics.median(one["npresnext"][index]["forward"] for one in rounds) * 1e3
        cells = [
            spread(ratios(rounds, lambda times, i=index, k=kind: times[i][k]))
            if kind in rounds[0]["torch"][index]
            else "–"
            for kind in KINDS
        ]
        yield f"| {layer_name(each)} | {each['count']} | {ms:.2f} | " + " | ".join(cells) + " |"


def curve_points(rounds, curve):
    """Yield value, forward and backward milliseconds: medians over the rounds."""
    for points in zip(*(one[curve] for one in rounds)):
        yield points[0][0], *(statistics.median(times[kind] for _, times in points) * 1e3 for kind in KINDS[:2])


def plot(rounds, path):
    """Draw the scaling curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    columns = 2
    rows = -(-len(rounds[0]) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(4 * columns, 3 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat[len(rounds[0]) :]:
        axis.remove()
    for axis, curve in zip(axes.flat, rounds[0]):
        values, forward, backward = zip(*curve_points(rounds, curve))
        for times, name in ((forward, "forward"), (backward, "backward")):
            axis.loglog(values, times, "o-", label=name)
        axis.set(xlabel=curve, ylabel="ms")
        axis.set_xticks(values, labels=values)
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        axis.minorticks_off()
        axis.legend()
    with atomic_path(path, overwrite=True) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
