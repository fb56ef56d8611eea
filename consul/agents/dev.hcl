# One agent in memory for a laptop: consul agent -dev -config-file=consul/agents/dev.hcl
# It forgets everything when it ends.
node_name            = "dev"
bind_addr            = "127.0.0.1"
client_addr          = "127.0.0.1"
disable_update_check = true

performance {
  raft_multiplier = 1
}
