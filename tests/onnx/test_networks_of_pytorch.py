"""Networks that PyTorch exports: they compute here what PyTorch computes, forward and backward, by the same names."""

import warnings

import numpy as np
import pytest

import npresnext as nx
from npresnext import models
from npresnext.errors import InvalidValueError

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle
T = torch.nn


class Block(T.Module):
    """A bottleneck with groups, as torchvision writes it."""

    def __init__(self, inputs, width, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = T.Conv2d(inputs, width, 1, bias=False), T.BatchNorm2d(width)
        self.conv2 = T.Conv2d(width, width, 3, stride, 1, groups=4, bias=False)
        self.bn2 = T.BatchNorm2d(width)
        self.conv3, self.bn3 = T.Conv2d(width, outputs, 1, bias=False), T.BatchNorm2d(outputs)
        self.relu = T.ReLU(inplace=True)
        self.downsample = T.Sequential(T.Conv2d(inputs, outputs, 1, stride, bias=False), T.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(y + self.downsample(x))


class ResNeXt(T.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.relu = T.Conv2d(3, 8, 7, 2, 3, bias=False), T.BatchNorm2d(8), T.ReLU(inplace=True)
        self.maxpool = T.MaxPool2d(3, 2, 1)
        self.layer1 = T.Sequential(Block(8, 8, 16, 1), Block(16, 16, 16, 2))
        self.avgpool, self.fc = T.AdaptiveAvgPool2d(1), T.Linear(16, 5)

    def forward(self, x):
        x = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Branches(T.Module):
    """Concatenation, averages, dilation, ceil_mode, dropout, view, a matmul, softmax."""

    def __init__(self):
        super().__init__()
        self.left = T.Conv2d(3, 4, 3, padding=2, dilation=2)
        self.right = T.Sequential(T.AvgPool2d(3, 1, 1), T.Conv2d(3, 4, 1), T.Dropout(0.5), T.Identity())
        self.pool = T.MaxPool2d(2, 3, ceil_mode=True)
        self.average = T.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.hidden = T.Linear(8 * 4 * 4, 6, bias=False)
        self.factor = T.Parameter(torch.randn(6, 4))

    def forward(self, x):
        y = torch.cat([torch.relu(self.left(x)), self.right(x)], dim=1)
        y = self.average(self.pool(y))
        return torch.softmax(self.hidden(y.view(y.shape[0], -1)) @ self.factor, dim=1)


def settled(network, x):
    """Run a training step's forward, so that statistics are those of images; vectors get random numbers."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
        network.train()(x)
    return network.eval()


def exported(network, x, path, opset, *, fold):
    """Export with batch norm folded into the convolutions, or with every parameter as it is."""
    mode = torch.onnx.TrainingMode.EVAL if fold else torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, x, path, dynamo=False, opset_version=opset, do_constant_folding=fold, training=mode)
    return nx.onnx.load(path)


@pytest.mark.parametrize(
    ("kind", "opset", "fold"),
    [
        *((ResNeXt, opset, fold) for opset in (9, 11, 13, 17) for fold in (True, False)),
        *((Branches, opset, True) for opset in (11, 13, 17)),  # opset 9 has no ceil_mode
    ],
)
def test_the_values_are_those_of_pytorch(tmp_path, kind, opset, fold):
    x = torch.randn(4, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    network = settled(kind(), x)
    net = exported(network, x, tmp_path / "net.onnx", opset, fold=fold)
    assert np.allclose(net(x.numpy()), network(x).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_names_and_gradients_are_those_of_pytorch(tmp_path, training):
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    network = settled(ResNeXt().double(), x)
    net = exported(network, x, tmp_path / "net.onnx", 17, fold=False)
    state = {name: array.numpy() for name, array in network.state_dict().items()}
    assert net.state_dict().keys() == state.keys()
    net.load_state_dict(state)
    network.train(training), net.train(training)
    grad = torch.randn(4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x.requires_grad_()
    expected = network(x)
    expected.backward(grad)
    assert np.allclose(net(x.detach().numpy()), expected.detach().numpy(), atol=1e-10)
    assert np.allclose(net.backward(grad.numpy()), x.grad.numpy(), atol=1e-9)
    grads = {name: parameter.grad for name, parameter in net.named_parameters()}
    for name, parameter in network.named_parameters():
        assert np.allclose(grads[name], parameter.grad.numpy(), atol=1e-8), name
    for name, array in network.state_dict().items():
        assert np.allclose(net.state_dict()[name], array.numpy(), atol=1e-10), name


def test_a_network_of_this_family_goes_on_as_a_resnet(tmp_path):
    """The names are PyTorch's, so the state also fits where names matter."""
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    network = settled(ResNeXt(), x)
    net = exported(network, x, tmp_path / "net.onnx", 17, fold=False)
    assert net.layer1[1].conv2.groups == 4 and net.layer1[1].conv2.stride == (2, 2)
    fused = models.fuse(net)
    assert np.allclose(fused(x.numpy()), network(x).detach().numpy(), atol=1e-4)


def test_operators_that_are_not_there_are_listed(tmp_path):
    network = T.Sequential(T.Conv2d(3, 4, 1), T.SiLU(), T.Conv2d(4, 4, 1), T.Hardtanh()).eval()
    with pytest.raises(InvalidValueError, match=r"does not have: Sigmoid \(1x, .*Mul \(1x, .*Clip \(1x"):
        exported(network, torch.randn(1, 3, 8, 8), tmp_path / "net.onnx", 17, fold=True)
