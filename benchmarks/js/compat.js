// js-libp2p uses Promise.withResolvers, which Node.js has from version 22; this keeps the peer running on 20.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}
