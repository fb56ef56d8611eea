# TLS for servers. Certificates: consul tls ca create; consul tls cert create -server -dc DATACENTER
# Clients get theirs from the servers. HTTPS on 8501 demands a client certificate; plain HTTP stays on loopback.
ca_file   = "/etc/consul.d/tls/consul-agent-ca.pem"
cert_file = "/etc/consul.d/tls/server.pem"
key_file  = "/etc/consul.d/tls/server-key.pem"

verify_incoming        = true
verify_outgoing        = true
verify_server_hostname = true

auto_encrypt {
  allow_tls = true
}

ports {
  https = 8501
}
