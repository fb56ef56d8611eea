# One of three servers: consul agent -config-file=consul/agents/server.hcl -bind=ADDRESS -retry-join=ADDRESS …
# Add acl.hcl and tls-server.hcl for a cluster that others can reach.
server               = true
bootstrap_expect     = 3
data_dir             = "/var/lib/consul"
client_addr          = "127.0.0.1"
rejoin_after_leave   = true
disable_update_check = true

performance {
  # Elections in two to three seconds; the default of 5 is for small virtual machines.
  raft_multiplier = 1
}
