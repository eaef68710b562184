"""The designer holds the paper's Table 2, and its closed counts are those of the published networks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npresnext as nx
from npresnext.cli import main
from npresnext.models import Bottleneck
from npresnext.nn import BatchNorm2d, Conv2d
from npresnext.nn.init import Undrawn
from npresnext.paper import Design, equal_complexity, network_counts, valid_groups
from npresnext.paper.skeleton import Counts, Skeleton

# Xie et al., arXiv:1611.05431, Table 2: C, d, width of the group convolution; the counts by its equation 4.
TABLE_2 = [(1, 64, 64, 69_632), (2, 40, 80, 69_760), (4, 24, 96, 69_888), (8, 14, 112, 71_456), (32, 4, 128, 70_144)]

NETWORKS = {
    (50, 1, 64): (25_557_032, 4_089_184_256),
    (101, 1, 64): (44_549_160, 7_801_405_440),
    (152, 1, 64): (60_192_808, 11_513_626_624),
    (50, 32, 4): (25_028_904, 4_230_479_872),
    (101, 32, 8): (88_791_336, 16_414_015_488),
    (101, 64, 4): (83_455_272, 15_460_270_080),
    (50, 1, 128): (68_883_240, 11_398_021_120),
    (101, 1, 128): (126_886_696, 22_753_050_624),
}


def paper_formula(cardinality, width, channels=256):
    return cardinality * (channels * width + 3 * 3 * width * width + width * channels)


def test_table_2_is_reproduced_exactly():
    designs = equal_complexity([1, 2, 4, 8, 32])
    assert [(d.cardinality, d.width, d.group_width, d.parameters) for d in designs] == TABLE_2
    assert [d.macs for d in designs] == [parameters * 56 * 56 for *_, parameters in TABLE_2]


def test_table_2_by_macs_is_the_same_table():
    assert equal_complexity(by="macs") == equal_complexity(by="parameters")


@given(st.integers(1, 64), st.integers(1, 64), st.sampled_from([8, 64, 256]))
def test_a_blocks_parameters_are_the_papers_formula(cardinality, width, channels):
    design = Design(cardinality, width, channels, 7)
    assert design.parameters == paper_formula(cardinality, width, channels)
    assert design.macs == 49 * design.parameters
    assert design.grouped_parameters == nx.conv2d_parameter_count(
        design.group_width, design.group_width, 3, groups=cardinality
    )


@settings(max_examples=20)
@given(st.integers(1, 32), st.integers(1, 32), st.sampled_from([8, 64, 256]), st.integers(1, 14))
def test_a_block_is_counted_as_the_network_counts_it(cardinality, width, channels, size):
    block = Bottleneck(channels, channels // 4, groups=cardinality, rng=Undrawn())
    block.conv1 = Conv2d(channels, cardinality * width, 1, bias=False, rng=Undrawn())
    block.conv2 = Conv2d(*[cardinality * width] * 2, 3, padding=1, groups=cardinality, bias=False, rng=Undrawn())
    block.conv3 = Conv2d(cardinality * width, channels, 1, bias=False, rng=Undrawn())
    block.bn1, block.bn2 = BatchNorm2d(cardinality * width), BatchNorm2d(cardinality * width)
    convolutions = [row for row in nx.summary(block, (1, channels, size, size)).layers if row.type == "Conv2d"]
    design = Design(cardinality, width, channels, size)
    assert design.parameters == sum(row.num_params for row in convolutions)
    assert design.macs == sum(row.macs for row in convolutions)


@settings(max_examples=30)
@given(st.integers(1, 40), st.tuples(st.integers(1, 32), st.integers(1, 16)), st.sampled_from([16, 256]))
def test_no_other_width_comes_closer(cardinality, reference, channels):
    (design,) = equal_complexity(cardinality, reference=reference, channels=channels)
    budget = paper_formula(*reference, channels)
    distances = [abs(paper_formula(cardinality, width, channels) - budget) for width in range(1, 600)]
    assert abs(design.parameters - budget) == min(distances)


@pytest.mark.parametrize(("design", "counts"), NETWORKS.items(), ids=str)
def test_networks_are_counted_to_the_unit(design, counts):
    assert network_counts(*design) == Counts(*counts)


@pytest.mark.parametrize(
    ("cardinality", "counts"), [(8, (34_426_698, 5_387_266_048)), (16, (68_155_210, 10_688_866_304))]
)
def test_the_cifar_networks_are_counted_to_the_unit(cardinality, counts):
    assert network_counts(29, cardinality, 64, kind="cifar") == Counts(*counts)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple),
    st.sampled_from([1, 2, 32]),
    st.integers(1, 8),
    st.sampled_from(["imagenet", "cifar"]),
)
def test_a_network_is_counted_as_its_summary_counts_it(blocks, cardinality, width, kind):
    skeleton = Skeleton.of(blocks, kind=kind, image_size=64)
    found = nx.summary(skeleton.network(cardinality, width), (1, 3, 64, 64))
    assert skeleton.counts(cardinality, width) == Counts(found.total_params, found.total_macs)
    assert (
        sum(parameter.data.size for parameter in skeleton.network(cardinality, width).parameters())
        == found.total_params
    )


def test_resnext50_saves_two_percent_of_parameters_and_costs_three_percent_more_macs():
    resnet, resnext = network_counts(50), Design(32, 4).network(50)
    assert round(100 * (1 - resnext.parameters / resnet.parameters), 2) == 2.07
    assert round(100 * (resnext.macs / resnet.macs - 1), 2) == 3.46


def test_whole_networks_disagree_with_a_block_on_what_is_equal():
    (by_block,) = equal_complexity(8)
    (by_macs,) = equal_complexity(8, by="macs", depth=50)
    assert (by_block.width, by_macs.width) == (14, 13)
    budget = network_counts(50).macs
    distances = {width: abs(network_counts(50, 8, width).macs - budget) for width in range(1, 65)}
    assert min(distances, key=distances.get) == by_macs.width


def test_depths_are_known_or_spelled_out():
    assert Skeleton.of(50) == Skeleton.of((3, 4, 6, 3))
    assert Skeleton.of(29, kind="cifar") == Skeleton.of([3, 3, 3], kind="cifar")
    assert network_counts(50, num_classes=10).parameters == network_counts(50).parameters - 990 * 2049
    assert network_counts(50, image_size=448).parameters == network_counts(50).parameters


@given(st.integers(1, 200), st.integers(1, 200))
def test_valid_groups_are_exactly_those_that_the_convolution_accepts(in_channels, out_channels):
    def accepted(groups):
        try:
            return nx.conv2d_parameter_count(in_channels, out_channels, 1, groups=groups) > 0
        except ValueError:
            return False

    assert valid_groups(in_channels, out_channels) == [g for g in range(1, 201) if accepted(g)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: equal_complexity(by="flops"), "by must be parameters or macs"),
        (lambda: equal_complexity([4, 0]), "cardinalities must be at least 1"),
        (lambda: equal_complexity(reference=(0, 64)), r"reference\[0\] must be at least 1"),
        (lambda: equal_complexity(reference=(1, 0)), r"reference\[1\] must be at least 1"),
        (lambda: equal_complexity(depth=51), r"depth 51 is not a known imagenet depth \(26, 50, 101, 152\)"),
        (lambda: network_counts(30, kind="cifar"), r"depth 30 is not a known cifar depth \(9n \+ 2"),
        (lambda: network_counts(50, kind="mnist"), "kind must be imagenet or cifar"),
        (lambda: network_counts(()), "depth has no stages"),
        (lambda: network_counts(50, 0), "cardinality must be at least 1"),
        (lambda: valid_groups(64, 0), "out_channels must be at least 1"),
    ],
)
def test_impossible_wishes_get_one_clear_message(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_command_prints_table_2(capsys):
    assert main(["cardinality"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [tuple(int(cell.replace(",", "")) for cell in line.split()[1:5]) for line in lines] == TABLE_2
    assert lines[-1].split()[-2:] == ["25,028,904", "4,230,479,872"]


def test_the_command_counts_networks_of_any_depth(capsys):
    for depth, blocks in ((["101"], (3, 4, 23, 3)), (["1", "2", "1"], (1, 2, 1))):
        expected = network_counts(blocks, 32, 4)
        assert main(["cardinality", "32", "--depth", *depth]) == 0
        assert capsys.readouterr().out.split()[-2:] == [f"{expected.parameters:,}", f"{expected.macs:,}"]


@pytest.mark.parametrize(
    ("arguments", "options", "network"),
    [
        (["8", "--network", "--by", "macs"], {"depth": 50, "by": "macs"}, {"depth": 50}),
        (["4", "--like", "8x64d", "--cifar", "--depth", "29"], {"reference": (8, 64)}, {"depth": 29, "kind": "cifar"}),
    ],
)
def test_the_command_keeps_the_cost_it_is_told_to_keep(arguments, options, network, capsys):
    assert main(["cardinality", *arguments]) == 0
    (expected,) = equal_complexity(int(arguments[0]), **options)
    counts = expected.network(**network)
    line = capsys.readouterr().out.splitlines()[2].split()
    assert line[0] == expected.name and line[-2:] == [f"{counts.parameters:,}", f"{counts.macs:,}"]


def test_the_command_lists_what_each_group_count_saves_in_the_layer(capsys):
    assert main(["cardinality", "--layer", "64", "128"]) == 0
    by_groups = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()[2:]}
    assert list(by_groups) == ["1", "2", "4", "8", "16", "32", "64"]
    assert by_groups["32"][-3:] == ["72", "2,304", "96.875%"]


def test_the_command_refuses_before_it_prints(capsys, tmp_path):
    (tmp_path / "there.png").write_text("mine")
    for arguments in (
        ["--like", "32by4"],
        ["--plot", str(tmp_path / "there.png")],
        ["--plot", "designs.bmp"],
        ["--layer", "64", "128", "--plot", str(tmp_path / "layer.png")],
    ):
        assert main(["cardinality", *arguments]) == 2
        output = capsys.readouterr()
        assert output.out == "" and len(output.err.splitlines()) == 1
    assert (tmp_path / "there.png").read_text() == "mine"


def test_the_picture_is_written(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["cardinality", "--plot", str(tmp_path / "designs.png")]) == 0
    assert (tmp_path / "designs.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("count", [1, 5, 14])
def test_the_labels_of_a_picture_do_not_touch(count):
    pytest.importorskip("matplotlib")
    from npresnext.paper.pictures import draw_designs

    figure = draw_designs(equal_complexity([1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 256, 512][-count:]))
    figure.canvas.draw()
    for axes in figure.axes:
        labels = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert len(labels) == count and all(one.x1 < other.x0 for one, other in zip(labels, labels[1:]))
