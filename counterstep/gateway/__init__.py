"""``google.longrunning.Operations`` over Temporal: every flow is an operation, for any client in any language."""

from counterstep.gateway._access import Access, AccessError, Permission
from counterstep.gateway._errors import GatewayStartError
from counterstep.gateway._serving import Gateway, GatewaySettings, gateway

__all__ = [
    "Access",
    "AccessError",
    "Gateway",
    "GatewaySettings",
    "GatewayStartError",
    "Permission",
    "gateway",
]
