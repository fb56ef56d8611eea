# The least a sidecar needs, for the prefix and the service name "gateway-sidecar" (--prefix sidecar --service gateway-sidecar).
# It may not read the routes of the edge. Give each kind of sidecar a prefix, and a policy like this one, of its own.
#   consul acl policy create -name gateway-sidecar -rules @consul/policies/sidecar.hcl

key_prefix "sidecar/" {
  policy = "list"
}

key_prefix "sidecar/status/" {
  policy = "write"
}

session_prefix "" {
  policy = "write"
}

service "gateway-sidecar" {
  policy = "write"
}

# Narrow this to the services that the sidecar's routes name.
service_prefix "" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}

agent_prefix "" {
  policy = "read"
}
