# The agent of a node that runs services or a gateway:
# consul agent -config-file=consul/agents/client.hcl -bind=ADDRESS -retry-join=SERVER …
# Add acl.hcl and tls-client.hcl where the servers have their counterparts.
data_dir             = "/var/lib/consul"
client_addr          = "127.0.0.1"
leave_on_terminate   = true
disable_update_check = true

limits {
  # Blocking queries hold connections. One gateway holds at most about a hundred, and the gateways of a node share its
  # address, by which Consul counts.
  http_max_conns_per_client = 500
}
