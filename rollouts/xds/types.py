"""The names of the resource types that the control plane serves, in the order they are pushed.

Everything in ``rollouts.xds`` speaks of resources by these type URLs. No logic lives here.
"""

from typing import Final

CLUSTER: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER: Final = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

# Make before break: a route may only name a cluster that the proxy already has, so what is
# pointed at comes before what points (xDS protocol, "Eventual consistency considerations").
PUSH_ORDER: Final = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)

SHORT: Final = {
    CLUSTER: "clusters",
    ENDPOINTS: "endpoints",
    LISTENER: "listeners",
    ROUTES: "routes",
}
