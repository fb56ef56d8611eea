# The least an edge gateway needs, for the prefix and the service name "gateway".
#   consul acl policy create -name gateway-edge -rules @consul/policies/edge.hcl
#   consul acl token create -description "edge gateways" -policy-name gateway-edge

# Routes, service policies, defaults. "list" reads too, and is what a recursive read needs under acl.enable_key_list_policy.
key_prefix "gateway/" {
  policy = "list"
}

# Its verdicts. Without this only the status is missing.
key_prefix "gateway/status/" {
  policy = "write"
}

# Verdicts go when the gateway dies, because a session holds them. Narrow "" to the names of the gateways' nodes.
session_prefix "" {
  policy = "write"
}

# Its own registration.
service "gateway" {
  policy = "write"
}

# The services that routes name, with the health of their nodes. Narrow service_prefix where services share a prefix.
service_prefix "" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}

# The agent's own node name and datacenter.
agent_prefix "" {
  policy = "read"
}
