"""What is said where TensorFlow Lite's package is not installed."""

import sys

import pytest

from search_spaces import tflite_net, zoo


def test_the_extra_is_named(monkeypatch):
    for module in ("ai_edge_litert", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        ValueError, match=r"^TensorFlow Lite models need the package ai-edge-litert \(.+\); pip install"
    ) as e:
        tflite_net.model(zoo.get("mobilenet_v3_small"))
    assert str(e.value).endswith(" 'platform-aware-nas[litert]'")
    with pytest.raises(ValueError, match="need the package ai-edge-litert"):
        tflite_net.interpreter(b"")
