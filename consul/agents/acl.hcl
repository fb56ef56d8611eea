# Deny by default; for every agent of the datacenter, servers and clients.
# Then once: consul acl bootstrap, and for each agent a token with its node's identity:
#   consul acl token create -node-identity=NODE:DATACENTER && consul acl set-agent-token agent SECRET
acl {
  enabled                  = true
  default_policy           = "deny"
  down_policy              = "extend-cache"
  enable_token_persistence = true
}
