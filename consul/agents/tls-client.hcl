# TLS for client agents, which get their certificates from the servers.
ca_file = "/etc/consul.d/tls/consul-agent-ca.pem"

verify_outgoing        = true
verify_server_hostname = true

auto_encrypt {
  tls = true
}
