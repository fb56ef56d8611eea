# For people and pipelines that edit routes and service policies, and read the gateways' verdicts.
#   consul acl policy create -name gateway-operator -rules @consul/policies/operator.hcl

key_prefix "gateway/" {
  policy = "list"
}

key_prefix "gateway/routes/" {
  policy = "write"
}

key_prefix "gateway/services/" {
  policy = "write"
}

key "gateway/defaults" {
  policy = "write"
}

key_prefix "sidecar/" {
  policy = "list"
}

key_prefix "sidecar/routes/" {
  policy = "write"
}

key_prefix "sidecar/services/" {
  policy = "write"
}

key "sidecar/defaults" {
  policy = "write"
}
