"""Where work runs: on the workers that TF_CONFIG names, or on those that Ray places; nothing here adds anything up."""

from tlkit.cluster.placement import Cluster, ray

__all__ = ["Cluster", "ray"]


def __dir__() -> list[str]:
    return sorted(__all__)
