# For who gives out API keys and passwords (gateway credentials): whoever has it lets others in.
#   consul acl policy create -name gateway-issuer -rules @consul/policies/issuer.hcl

key_prefix "gateway/credentials/" {
  policy = "write"
}

key_prefix "sidecar/credentials/" {
  policy = "write"
}
