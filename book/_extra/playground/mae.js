/* The masked autoencoder of mae/model.py in plain JavaScript: one image, no batch, the same names.

   A sequence of T tokens of width D is a Float32Array of T·D numbers, row after row. Shapes stand behind the lines,
   in the letters of the book: N patches, K visible ones, P values in a patch, D width. What PyTorch does in one
   call (matrix products, softmax, GELU) is written out at the top. */

"use strict";

window.mae = (() => {
/** y = x·Wᵀ + b for each token: (T, I) → (T, O), with W (O, I). Nearly all time is spent here: so four tokens at a
    time, and a weight that has been fetched is used four times, in four sums that don't wait for one another. */
function linear(x, weight, bias) {
  const O = bias.length, I = weight.length / O, T = x.length / I;
  const y = new Float32Array(T * O);
  let t = 0;
  for (; t + 4 <= T; t += 4) {
    const x0 = t * I, x1 = x0 + I, x2 = x1 + I, x3 = x2 + I;
    for (let o = 0; o < O; o++) {
      const row = o * I, start = t * O + o;
      let a = bias[o], b = a, c = a, d = a;
      for (let i = 0; i < I; i++) {
        const w = weight[row + i];
        a += w * x[x0 + i];
        b += w * x[x1 + i];
        c += w * x[x2 + i];
        d += w * x[x3 + i];
      }
      y[start] = a;
      y[start + O] = b;
      y[start + 2 * O] = c;
      y[start + 3 * O] = d;
    }
  }
  for (; t < T; t++) {
    for (let o = 0; o < O; o++) {
      let sum = bias[o];
      for (let i = 0; i < I; i++) sum += weight[o * I + i] * x[t * I + i];
      y[t * O + o] = sum;
    }
  }
  return y;
}

/** Each token with mean 0 and variance 1, then scaled and shifted: (T, D) → (T, D). */
function layerNorm(x, weight, bias) {
  const D = bias.length, y = new Float32Array(x.length);
  for (let start = 0; start < x.length; start += D) {
    let mean = 0, variance = 0;
    for (let i = 0; i < D; i++) mean += x[start + i];
    mean /= D;
    for (let i = 0; i < D; i++) variance += (x[start + i] - mean) ** 2;
    const scale = 1 / Math.sqrt(variance / D + 1e-6);
    for (let i = 0; i < D; i++) y[start + i] = (x[start + i] - mean) * scale * weight[i] + bias[i];
  }
  return y;
}

/** x·Φ(x), in place. JavaScript has no error function: this series is right to 2e-7 (Abramowitz & Stegun, 7.1.26). */
function gelu(x) {
  for (let i = 0; i < x.length; i++) {
    const z = Math.abs(x[i]) * Math.SQRT1_2, t = 1 / (1 + 0.3275911 * z);
    const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    const erf = (1 - series * Math.exp(-z * z)) * Math.sign(x[i]);
    x[i] *= 0.5 * (1 + erf);
  }
  return x;
}

/** Numbers to weights that are positive and sum to 1, in place. */
function softmax(x) {
  const largest = Math.max(...x);
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] = Math.exp(x[i] - largest);
  for (let i = 0; i < x.length; i++) x[i] /= sum;
  return x;
}

/** Sums of two arrays, number by number. */
function add(x, y) {
  return x.map((value, i) => value + y[i]);
}

/** Tokens by position: (N, D) and K indices → (K, D). */
function take(tokens, index, D) {
  const taken = new Float32Array(index.length * D);
  index.forEach((n, k) => taken.set(tokens.subarray(n * D, (n + 1) * D), k * D));
  return taken;
}

/** Cut an image into patches of p×p, row by row: (H·W) → (N, P). */
function patchify(image, size = 28, p = 4) {
  const patches = new Float32Array(image.length);
  let at = 0;
  for (let top = 0; top < size; top += p)
    for (let left = 0; left < size; left += p)
      for (let y = 0; y < p; y++)
        for (let x = 0; x < p; x++) patches[at++] = image[(top + y) * size + left + x];
  return patches;
}

/** Put patches back together: the exact inverse of `patchify`. */
function unpatchify(patches, size = 28, p = 4) {
  const image = new Float32Array(patches.length);
  let at = 0;
  for (let top = 0; top < size; top += p)
    for (let left = 0; left < size; left += p)
      for (let y = 0; y < p; y++)
        for (let x = 0; x < p; x++) image[(top + y) * size + left + x] = patches[at++];
  return image;
}

/** Fixed sine-cosine positions: (N, D), half of a token's values for the column, half for the row. */
function sincosPositions(rows, columns, D) {
  const positions = new Float32Array(rows * columns * D), quarter = D / 4;
  for (let n = 0; n < rows * columns; n++)
    [n % columns, Math.floor(n / columns)].forEach((axis, half) => {
      for (let i = 0; i < quarter; i++) {
        const angle = axis * 10000 ** (-i / quarter);
        positions[n * D + 2 * half * quarter + i] = Math.sin(angle);
        positions[n * D + (2 * half + 1) * quarter + i] = Math.cos(angle);
      }
    });
  return positions;
}

class MaskedAutoencoder {
  /** `weights`: a Float32Array by the name that it has in PyTorch; `heads` of the encoder and of the decoder. */
  constructor(weights, heads) {
    this.weights = weights;
    this.heads = { blocks: heads[0], decoder_blocks: heads[1] };
    this.width = weights["norm.bias"].length;
    this.decoderWidth = weights["decoder_norm.bias"].length;
    this.positions = sincosPositions(7, 7, this.width);
    this.decoderPositions = sincosPositions(7, 7, this.decoderWidth);
    this.attention = {}; // of the last forward pass: for each block, heads × T × T shares
  }

  linear(name, x) {
    return linear(x, this.weights[`${name}.weight`], this.weights[`${name}.bias`]);
  }

  norm(name, x) {
    return layerNorm(x, this.weights[`${name}.weight`], this.weights[`${name}.bias`]);
  }

  /** Predict all patches from the visible ones: (N, P) and K indices → (N, P). */
  forward(patches, visible) {
    const latent = this.encode(patches, visible); // (1 + K, D)
    const tokens = this.decode(latent, visible); // (N, decoder width)
    return this.predict(tokens);
  }

  /** Latent tokens of the visible patches, behind a class token: (1 + K, D). */
  encode(patches, visible) {
    const tokens = this.embed(patches, visible); // (K, D)
    let x = new Float32Array(this.width + tokens.length);
    x.set(this.weights.cls_token);
    x.set(tokens, this.width);
    for (let i = 0; `blocks.${i}.norm1.bias` in this.weights; i++) x = this.block("blocks", i, x);
    return this.norm("norm", x);
  }

  /** Tokens of the visible patches: a linear map of each, plus its position: (K, D). */
  embed(patches, visible) {
    const P = patches.length / 49;
    return add(this.linear("patch_embed", take(patches, visible, P)), take(this.positions, visible, this.width));
  }

  /** Decoder tokens: encoded where visible, mask tokens where hidden, in place, then mixed: (N, decoder width). */
  decode(latent, visible) {
    const D = this.decoderWidth;
    const encoded = this.linear("decoder_embed", latent); // (1 + K, decoder width)
    let x = new Float32Array(50 * D);
    x.set(encoded.subarray(0, D));
    for (let n = 0; n < 49; n++) x.set(this.weights.mask_token, (1 + n) * D);
    visible.forEach((n, k) => x.set(encoded.subarray((1 + k) * D, (2 + k) * D), (1 + n) * D));
    for (let i = 0; i < 49 * D; i++) x[D + i] += this.decoderPositions[i];
    for (let i = 0; `decoder_blocks.${i}.norm1.bias` in this.weights; i++) x = this.block("decoder_blocks", i, x);
    return x.subarray(D);
  }

  /** Pixel values from decoder tokens: (N, P). */
  predict(tokens) {
    return this.linear("decoder_pred", this.norm("decoder_norm", tokens));
  }

  /** A pre-norm transformer block: (T, D) → (T, D). */
  block(part, i, x) {
    const name = `${part}.${i}`;
    x = add(x, this.attend(`${name}.attn`, this.norm(`${name}.norm1`, x), this.heads[part]));
    const hidden = gelu(this.linear(`${name}.mlp.fc1`, this.norm(`${name}.norm2`, x))); // (T, 4·D)
    return add(x, this.linear(`${name}.mlp.fc2`, hidden));
  }

  /** Multi-head self-attention: (T, D) → (T, D). Each token asks (q) all tokens (k) and mixes their values (v). */
  attend(name, x, heads) {
    const qkv = this.linear(`${name}.qkv`, x); // (T, 3·D)
    const D = this.weights[`${name}.proj.bias`].length, T = x.length / D, d = D / heads;
    const mixed = new Float32Array(T * D);
    const shares = (this.attention[name] = new Float32Array(heads * T * T));
    for (let h = 0; h < heads; h++)
      for (let t = 0; t < T; t++) {
        const q = t * 3 * D + h * d; // where token t's question begins; its answers and values lie D and 2·D behind
        const share = shares.subarray((h * T + t) * T, (h * T + t + 1) * T);
        for (let s = 0; s < T; s++) {
          const k = s * 3 * D + D + h * d;
          let sum = 0;
          for (let i = 0; i < d; i++) sum += qkv[q + i] * qkv[k + i];
          share[s] = sum / Math.sqrt(d);
        }
        softmax(share);
        for (let s = 0; s < T; s++) {
          const v = s * 3 * D + 2 * D + h * d, weight = share[s];
          for (let i = 0; i < d; i++) mixed[t * D + h * d + i] += weight * qkv[v + i];
        }
      }
    return this.linear(`${name}.proj`, mixed);
  }
}

/** A model from a script made by tools/playground.py, which explains the format. */
async function unpack({ data, size, tensors, heads }) {
  const packed = new Uint8Array(size);
  for (let at = 0, held = 0, count = 0, i = 0; at < size; i++) {
    held |= (data.charCodeAt(i) & 127) << count; // 7 bits from each character
    for (count += 7; count >= 8 && at < size; count -= 8, held >>= 8) packed[at++] = held & 255;
  }
  const inflated = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(inflated).arrayBuffer());
  const sizes = tensors.map(([, shape]) => shape.reduce((a, b) => a * b));
  const weights = {};
  let leading = 0, rest = sizes.reduce((a, b) => a + b), held = 0, count = 0;
  tensors.forEach(([name, , step, shift], n) => {
    weights[name] = Float32Array.from({ length: sizes[n] }, () => {
      for (; count < shift; count += 8) held |= bytes[rest++] << count;
      const whole = ((bytes[leading++] << 24) >> 24) * 2 ** shift + (held & (2 ** shift - 1)); // a signed byte, then bits
      held >>= shift;
      count -= shift;
      return whole * step;
    });
  });
  return new MaskedAutoencoder(weights, heads);
}

return { MaskedAutoencoder, patchify, unpatchify, unpack };
})();
