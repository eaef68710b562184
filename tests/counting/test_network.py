"""Counts to the unit, shapes without computing, and the saving of a layer beside that of the network."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import npresnext as nx
from npresnext import nn
from npresnext.cli import main
from npresnext.models import Bottleneck, ResNet, get_model, resnext_small
from npresnext.nn.init import Undrawn
from npresnext.paper import network_counts

NETWORKS = {
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
    "resnext50_32x4d": (25_028_904, 4_230_479_872),
    "resnext101_32x8d": (88_791_336, 16_414_015_488),
    "resnext101_64x4d": (83_455_272, 15_460_270_080),
    "wide_resnet50_2": (68_883_240, 11_398_021_120),
    "wide_resnet101_2": (126_886_696, 22_753_050_624),
}


CIFAR_NETWORKS = {"resnext29_8x64d": (34_426_698, 5_387_266_048), "resnext29_16x64d": (68_155_210, 10_688_866_304)}


@pytest.fixture(scope="module")
def resnext50():
    return nx.summary(get_model("resnext50_32x4d", rng=Undrawn()), (1, 3, 224, 224))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_counted_to_the_unit(name):
    found = nx.summary(get_model(name, rng=Undrawn()), (1, 3, 224, 224))
    assert (found.total_params, found.total_macs) == NETWORKS[name]
    assert sum(row.num_params for row in found.layers) == found.total_params
    assert sum(row.macs for row in found.layers) == found.total_macs
    assert found.parameter_bytes == 4 * found.total_params


@pytest.mark.parametrize("name", CIFAR_NETWORKS)
def test_the_cifar_networks_are_counted_to_the_unit(name):
    found = nx.summary(get_model(name, rng=Undrawn()), (1, 3, 32, 32))
    assert (found.total_params, found.total_macs) == CIFAR_NETWORKS[name]
    stages = [row.output_size for row in found.rows if row.path in ("layer1", "layer2", "layer3")]
    assert stages == [(1, 256, 32, 32), (1, 512, 16, 16), (1, 1024, 8, 8)]
    assert [row.path for row in found.rows if row.name == "downsample"] == [f"layer{i}.0.downsample" for i in (1, 2, 3)]
    assert all(module.bias is None for module in get_model(name, rng=Undrawn()).modules() if type(module) is nn.Conv2d)


@pytest.mark.parametrize(("cardinality", "width"), [(1, 64), (3, 20), (32, 4)])
def test_any_cardinality_and_width_make_a_cifar_network(cardinality, width):
    options = {"groups": cardinality, "width_per_group": width, "num_classes": 100, "stem": "cifar"}
    model = ResNet(Bottleneck, [3, 3, 3], **options, rng=Undrawn())
    found = nx.summary(model, (1, 3, 32, 32))
    expected = network_counts(29, cardinality, width, kind="cifar", num_classes=100)
    assert (found.total_params, found.total_macs) == (expected.parameters, expected.macs)


def test_a_batch_multiplies_macs_and_activations_but_no_parameters():
    model = resnext_small(rng=Undrawn())
    one, eight = nx.summary(model, (1, 1, 28, 28)), nx.summary(model, (8, 1, 28, 28))
    assert eight.total_macs == 8 * one.total_macs
    assert eight.activation_bytes == 8 * one.activation_bytes
    assert eight.total_params == one.total_params


def test_activation_bytes_are_those_of_the_arrays_that_layers_return():
    model, sizes = resnext_small(rng=0, dtype="float64"), []

    def note(module, *inputs):
        output = module.forward(*inputs)
        if not list(module.children()):
            sizes.append(output.nbytes)
        return output

    with nn.module.calls_through(note):
        model(np.ones((2, 1, 8, 8)))
    assert [row.activation_bytes for row in nx.summary(model, (2, 1, 8, 8)).layers] == sizes


def test_with_one_group_everywhere_resnext50_is_wide_resnet50_2(resnext50):
    assert (resnext50.dense_params, resnext50.dense_macs) == NETWORKS["wide_resnet50_2"]
    assert len(resnext50.grouped_layers) == 16
    assert {1 - row.num_params / row.dense_params for row in resnext50.grouped_layers} == {1 - 1 / 32}


def test_the_layers_saving_and_the_networks_stand_side_by_side(resnext50):
    lines = str(resnext50).splitlines()
    header = next(line for line in lines if line.startswith("Grouped convolution"))
    assert header.index("saved in the layer") < header.index("of the network")
    first = next(line for line in lines if line.startswith("layer1.0.conv2"))
    assert first.split()[1:] == ["32", "4,608", "147,456", "96.875%", "0.21%"]
    whole = next(line for line in lines if line.startswith("the whole network"))
    assert whole.split()[3:] == ["25,028,904", "68,883,240", "63.66%"]


def test_sizes_have_units_that_fit_them(resnext50):
    shown = dict(re.findall(r"^(Size .*): +(.*)$", str(resnext50), re.MULTILINE))
    outputs = sum(row.activation_bytes for row in resnext50.layers)
    assert shown == {
        "Size of the input": "602 kB",  # 4 * 3 * 224 * 224 = 602,112
        "Size of the outputs of all layers": f"{outputs / 1e6:.0f} MB",
        "Size of the parameters": "100 MB",
    }
    assert all(size in resnext50._repr_html_() for size in shown.values())


def test_a_network_without_groups_speaks_of_no_saving():
    found = nx.summary(nn.Linear(3, 2, rng=0), (1, 3))
    assert "saved" not in str(found) and "saved" not in found._repr_html_()


def test_a_network_without_parameters_has_no_shares():
    assert [row.params_percent for row in nx.summary(nn.Sequential(nn.ReLU()), (1, 3)).rows] == [0, 0]


def test_rows_nest_by_depth_and_collapse_where_the_text_ends(resnext50):
    model = get_model("resnext50_32x4d", rng=Undrawn())
    text = str(nx.summary(model, (1, 3, 224, 224), depth=1))
    stage = next(line for line in text.splitlines() if "layer4" in line)
    counts = next(row for row in resnext50.rows if row.path == "layer4")
    assert f"{counts.num_params:,}" in stage and f"{counts.macs:,}" in stage
    assert "Bottleneck" not in text
    assert str(resnext50).count("Bottleneck") == 16
    assert "│ │ ├─Conv2d (conv2): 3-4" in str(resnext50)
    assert "downsample" in str(resnext50) and "downsample.1" not in str(resnext50) and ": 4-" not in str(resnext50)


def test_an_image_without_a_batch_axis_counts_as_a_batch_of_one():
    conv = nn.Conv2d(4, 6, 3, groups=2, rng=0)
    alone, batch = nx.summary(conv, (4, 9, 8)), nx.summary(conv, (1, 4, 9, 8))
    assert alone.rows[0].output_size == (6, 7, 6) and alone.total_macs == batch.total_macs == 6 * 2 * 9 * 7 * 6


def test_kernels_are_pairs_however_they_were_given():
    layers = nn.MaxPool2d(3), nn.AvgPool2d((2, 1)), nn.Conv2d(4, 4, 3, rng=0), nn.ReLU()
    rows = nx.summary(nn.Sequential(*layers), (1, 4, 20, 20)).layers
    assert [row.kernel_size for row in rows] == [(3, 3), (2, 1), (3, 3), None]


def test_columns_are_chosen(resnext50):
    model = resnext_small(rng=Undrawn())
    text = str(nx.summary(model, (1, 1, 8, 8), col_names=["input_size", "activation_bytes", "dense_params"]))
    header = text.splitlines()[0].split("  ")
    assert [name.strip() for name in header if name.strip()] == [
        "Layer (name): depth-index",
        "Input",
        "Output bytes",
        "Parameters with G=1",
    ]
    assert "MACs" not in text.splitlines()[0] and "MACs" in str(resnext50).splitlines()[0]


def test_rows_are_numbered_within_their_depth():
    network = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2, rng=0), nn.Sequential(nn.ReLU(), nn.ReLU()), nn.ReLU())
    found = nx.summary(network, (1, 4, 2, 2))
    places = [(row.path, row.depth, row.index) for row in found.rows]
    assert places == [("", 0, 1), ("0", 1, 1), ("1", 1, 2), ("1.0", 2, 1), ("1.1", 2, 2), ("2", 1, 3)]
    assert [row.path for row in found.grouped_layers] == ["0"]


def test_a_module_has_the_macs_of_its_own_layers_alone():
    one = [nn.Conv2d(3, 3, 1, rng=0), nn.Conv2d(3, 5, 1, rng=0), nn.Conv2d(5, 1, 1, rng=0)]
    found = nx.summary(nn.Sequential(one[0], nn.Sequential(one[1]), one[2]), (1, 3, 2, 2))
    assert [(row.path, row.macs) for row in found.rows] == [("", 116), ("0", 36), ("1", 60), ("1.0", 60), ("2", 20)]


def test_modules_whose_parts_are_shown_have_no_counts_and_layers_have_them():
    found = nx.summary(resnext_small(rng=Undrawn()), (1, 1, 8, 8), col_names=["num_params"], depth=2)
    counts = dict(re.findall(r"\w+ \((\w+)\): \S+ +(\S+)", str(found)))
    assert (counts["conv1"], counts["layer1"], counts["0"], counts["fc"]) == ("144", "--", "101,888", "2,570")
    html = found._repr_html_()
    assert ">conv1: Conv2d<" in html and ">ResNet<" in html


def test_json_carries_every_number(resnext50):
    found = json.loads(resnext50.to_json())
    assert resnext50.to_json() == json.dumps(found, indent=2)
    assert (found["total_params"], found["total_macs"]) == NETWORKS["resnext50_32x4d"]
    rows = {row["path"]: row for row in found["rows"]}
    assert rows["layer4.0.conv2"]["input_size"] == [1, 1024, 14, 14]
    assert rows["layer4.0.conv2"]["output_size"] == [1, 1024, 7, 7]
    assert rows["layer4.0.conv2"]["dense_macs"] == 32 * rows["layer4.0.conv2"]["macs"]


def test_html_is_well_formed_and_says_the_same(resnext50):
    class Tags(HTMLParser):
        open, rows = [], 0

        def handle_starttag(self, tag, attrs):
            self.open.append(tag)
            self.rows += tag == "tr"

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    tags = Tags()
    tags.feed(resnext50._repr_html_())
    assert tags.open == []
    shown = sum(row.depth <= resnext50.shown_depth for row in resnext50.rows)
    assert shown > 100 and tags.rows == 1 + shown + 5 + 1 + 16 + 1 and "<tr></tr>" not in resnext50._repr_html_()
    assert "25,028,904" in resnext50._repr_html_() and "96.875%" in resnext50._repr_html_()


def test_html_explains_itself_can_be_collapsed_and_sets_no_colours(resnext50):
    html = resnext50._repr_html_()
    assert "<b>ResNet</b> for an input of 1x3x224x224" in html and "MACs are the multiply-adds" in html
    assert html.count("<details") == 2 and "<details><summary>" in html and "color" not in html
    small = nx.summary(nn.Conv2d(4, 6, 3, groups=2, rng=0), (1, 4, 9, 8))._repr_html_()
    assert "<details open><summary>1 row</summary>" in small
    assert (
        '<th style="text-align:right">Parameters</th>' in small and '<th style="text-align:left">Output</th>' in small
    )
    depths = re.findall(
        r"padding-left:([0-9.]+)em", nx.summary(resnext_small(rng=Undrawn()), (1, 1, 8, 8))._repr_html_()
    )
    assert len(depths) > 3 and len(set(depths)) > 2, "rows are indented by their depth"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nx.summary(nn.ReLU(), (1,), col_names=["flops"]), ValueError, "'flops': choose from input_size, "),
        (lambda: nx.summary("resnet50", (1,)), TypeError, "model must be a Module, but is of type str"),
        (lambda: nx.summary(resnext_small(rng=0), (1, 3, 8, 8)), ValueError, "conv1: .* x has 3 channels"),
        (lambda: nx.summary(nn.ReLU(), (1, -3)), ValueError, r"input_size\[1\] must be at least 0"),
        (lambda: nx.summary(nn.ReLU(), np.ones((1, 3))), TypeError, "input_size must be .* but is of type ndarray$"),
    ],
)
def test_mistakes_get_one_clear_message(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_command_prints_the_counts(capsys):
    assert main(["summary", "resnext50_32x4d"]) == 0
    assert "25,028,904" in (text := capsys.readouterr().out) and "4,230,479,872" in text
    assert main(["summary", "resnext_small", "--input-size", "2", "1", "8", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["output_size"] == [2, 10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["resnext51"], "resnext50_32x4d"), (["resnet18", "--columns", "flops"], "num_params")],
)
def test_the_command_lists_what_there_is(capsys, arguments, message):
    assert main(["summary", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == "" and message in output.err and len(output.err.splitlines()) == 1


def test_the_bytes_are_those_of_the_dtype_that_goes_in():
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False, rng=0))
    wide, half = (nx.summary(model, (1, 1, 4, 4), dtype=dtype) for dtype in (None, "float16"))
    assert (wide.input_bytes, wide.activation_bytes, wide.parameter_bytes) == (64, 128, 8)
    assert (half.input_bytes, half.activation_bytes, half.parameter_bytes) == (32, 64, 8)


class Twice(nn.Module):
    """One grouped convolution, called twice."""

    def __init__(self):
        self.conv = nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False, rng=0)

    def forward(self, x):
        return self.conv(self.conv(x))


def test_the_parameters_of_a_layer_that_is_called_twice_count_once_everywhere():
    found, once = nx.summary(Twice(), (1, 8, 5, 5)), nx.summary(Twice().conv, (1, 8, 5, 5))
    assert found.total_params == 8 * 2 * 9 and found.dense_params == 8 * 8 * 9 == once.dense_params
    assert [row.num_params for row in found.rows] == [144, 144, 0]
    assert [row.dense_params for row in found.rows] == [576, 576, 0]
    assert [row.params_percent for row in found.rows] == [100, 100, 0]
    assert found.total_macs == 2 * once.total_macs and found.dense_macs == 2 * once.dense_macs
    assert [row.path for row in found.grouped_layers] == ["conv"]
    assert "75.00%" in str(found) and "75.00%" in found._repr_html_()


def test_a_block_that_is_called_twice_counts_once_too():
    class Again(nn.Module):
        def __init__(self):
            self.block = Bottleneck(16, 4, groups=4, width_per_group=32, rng=0)

        def forward(self, x):
            return self.block(self.block(x))

    found, once = nx.summary(Again(), (1, 16, 5, 5)), nx.summary(Again().block, (1, 16, 5, 5))
    assert (found.total_params, found.dense_params) == (once.total_params, once.dense_params)
    assert found.rows[0].dense_params == once.dense_params
    assert sum(row.num_params for row in found.layers) == found.total_params
    assert found.total_macs == 2 * once.total_macs
