"""What a saved run tells of its machine beside what pytest-benchmark does."""

from typing import Any

from fastem.kernels.simd import NARROW_BYTES, VECTOR_BYTES


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Bytes of vectors: they differ between AVX2 and AVX-512, and so do all ratios."""
    machine_info["vector_bytes"] = VECTOR_BYTES
    machine_info["narrow_bytes"] = NARROW_BYTES
