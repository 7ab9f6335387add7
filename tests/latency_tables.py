"""Tables of latencies that tests begin with."""

from latency_luts import calibrate, known
from latency_luts.key import key
from latency_luts.table import CalibratedTable, Identity, MeasuredTable, Timing
from search_spaces import spaces
from search_spaces.lower import lower
from search_spaces.ops import Conv

HERE = Identity(cpu="test cpu", runtime="onnxruntime 1", threads=1, batch=1, dtype="fp32")


def measured_table(archs, ms=1.0, **changes) -> MeasuredTable:
    units = {key(unit): Timing(ms, 0.01, 20) for arch in archs for unit in lower(arch)}
    return MeasuredTable(device="test", identity=HERE, provenance={"date": "today"}, units=units, **changes)


def phone_table(device: str) -> CalibratedTable:
    return calibrate.calibrate(device, known.published(device))


def made_up_table(**changes) -> MeasuredTable:
    """A device that computes 16 channels at a time and needs 5 us per operator."""

    def ms(u) -> float:
        total = 0.0
        for node in u.nodes:
            out_ch, h, w = node.out_shape
            total += 0.005
            if isinstance(node.op, Conv):
                inner = node.op.kernel**2 * (1 if node.op.groups > 1 else -(-node.op.in_ch // 16) * 16)
                total += 1e-7 * -(-out_ch // 16) * 16 * h * w * inner
        return total

    units = spaces.get("mnasnet", base_width=0.5, resolution_px=96).units()
    return MeasuredTable(
        device="made_up",
        identity=Identity(cpu="x", runtime="y", threads=1, batch=1, dtype="fp32"),
        provenance={},
        units={key(u): Timing(ms(u), 0.0, 1) for u in units},
        **changes,
    )
