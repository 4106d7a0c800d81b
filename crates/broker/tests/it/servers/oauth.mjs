// An OAuth server for tests: npm's oidc-provider, with the grant of RFC 8693 for subject tokens of one issuer.
//
// Environment: MODULES (the folder with node_modules), PORT, ISSUER (whose tokens are exchanged), CLIENTS (JSON).

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const { MODULES, PORT, ISSUER, CLIENTS } = process.env;
const resolve = createRequire(join(MODULES, 'none.js')).resolve;
const load = (name) => import(pathToFileURL(resolve(name)));
const { Provider, errors } = await load('oidc-provider');
const { createRemoteJWKSet, jwtVerify } = await load('jose');

const GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const KNOWN = new Map([['https://billing.test', 'invoices:read invoices:write']]);

const provider = new Provider(`http://127.0.0.1:${PORT}`, {
  clients: JSON.parse(CLIENTS).map((client) => ({
    grant_types: [GRANT],
    redirect_uris: [],
    response_types: [],
    ...client,
  })),
  scopes: ['invoices:read', 'invoices:write'],
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'],
  features: {
    // Tokens of that kind are not found again unless this grant is there too.
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: { enabled: true },
  },
});

const keys = createRemoteJWKSet(new URL(`${ISSUER}/keys`));

provider.registerGrantType(
  GRANT,
  async (ctx) => {
    const { client, params } = ctx.oidc;
    if (params.subject_token_type !== 'urn:ietf:params:oauth:token-type:jwt') {
      throw new errors.InvalidRequest('subject_token_type is not known here');
    }
    try {
      await jwtVerify(params.subject_token, keys, { issuer: ISSUER, audience: 'https://oauth.test' });
    } catch (error) {
      throw new errors.InvalidGrant(`subject_token: ${error.code}`);
    }
    const allowed = KNOWN.get(params.resource);
    if (!allowed) throw new errors.InvalidTarget();
    const scope = (params.scope ?? '').split(' ').filter((name) => allowed.split(' ').includes(name)).join(' ');
    const token = new provider.ClientCredentials({ client, scope: scope || undefined });
    token.resourceServer = new provider.ResourceServer(params.resource, {
      scope: allowed, accessTokenFormat: 'opaque', accessTokenTTL: 600,
    });
    const value = await token.save();
    ctx.body = {
      access_token: value,
      issued_token_type: ACCESS_TOKEN,
      token_type: 'Bearer',
      expires_in: token.expiration,
      scope,
    };
  },
  ['subject_token', 'subject_token_type', 'requested_token_type', 'resource', 'audience', 'scope'],
);

provider.listen(Number(PORT), '127.0.0.1');
